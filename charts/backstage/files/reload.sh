#!/bin/sh
# Has PostgreSQL read its certificate again when that in $TLS_DIR changes: the server reads it at its start and when it is
# told to. It is told by its socket, where the image asks those in the pod for no password.
set -u

# The first process of a container ends by no signal that it does not handle. The image's own stop signal is INT.
trap 'kill $! 2> /dev/null; exit 0' TERM INT

pause() {
  sleep "${INTERVAL:-30}" &
  wait $!
}

reload() {
  psql --no-psqlrc --quiet --host="$SOCKET_DIR" --port=5432 --username="$1" --dbname="$POSTGRES_DB" \
    --command='select pg_reload_conf()' > /dev/null
}

loaded=
while pause; do
  now=$(cat "$TLS_DIR/tls.crt" "$TLS_DIR/tls.key" | cksum)
  [ "$now" != "$loaded" ] || continue
  # What fails is tried again. The first time is for a change between the server's start and this one's.
  # Data of before superuser was false has no superuser but the Secret's user.
  if reload "$POSTGRES_USER" || { [ -n "${PORTAL_USER:-}" ] && reload "$PORTAL_USER"; }; then
    loaded=$now
    echo "PostgreSQL was told to read its certificate"
  fi
done
