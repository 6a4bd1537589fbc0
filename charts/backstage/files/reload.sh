#!/bin/sh
# Has PostgreSQL read its certificate again when that in $TLS_DIR changes: the server reads it at its start and when it is
# told to. It is told by its socket, where the image asks those in the pod for no password.
set -u

loaded=
while sleep "${INTERVAL:-30}"; do
  now=$(cat "$TLS_DIR/tls.crt" "$TLS_DIR/tls.key" | cksum)
  [ "$now" != "$loaded" ] || continue
  # What fails is tried again. The first time is for a change between the server's start and this one's.
  if psql --no-psqlrc --quiet --host="$SOCKET_DIR" --port=5432 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --command='select pg_reload_conf()' > /dev/null; then
    loaded=$now
    echo "PostgreSQL was told to read its certificate"
  fi
done
