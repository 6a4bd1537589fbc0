#!/bin/sh
# What the official image's entrypoint does: a database cluster is made where
# there is none, with the user, password and database that the environment
# names, and files in /docker-entrypoint-initdb.d are run once.
set -eu
case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-postgres}" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown -R postgres "$PGDATA"
  chmod 0700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  password=${POSTGRES_PASSWORD:-}
  [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(cat "$POSTGRES_PASSWORD_FILE")
  method=scram-sha-256
  if [ "${POSTGRES_HOST_AUTH_METHOD:-}" = trust ]; then
    method=trust
  elif [ -z "$password" ]; then
    echo >&2 'the database has no password: set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust'
    exit 1
  fi
  file=$(mktemp)
  printf '%s\n' "$password" > "$file"
  set +e
  if [ "$method" = trust ]; then initdb --username="$user" --auth=trust; else initdb --username="$user" --pwfile="$file" --auth-local=trust --auth-host=scram-sha-256; fi
  code=$?
  set -e
  rm -f "$file"
  [ $code = 0 ] || exit $code
  printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
  pg_ctl -w -o "-c listen_addresses=''" start
  db=${POSTGRES_DB:-$user}
  [ "$db" = postgres ] || createdb --username="$user" "$db"
  for f in /docker-entrypoint-initdb.d/*; do
    case $f in
      *.sh) sh "$f" ;;
      *.sql) psql -v ON_ERROR_STOP=1 --username="$user" --dbname="$db" --file="$f" ;;
    esac
  done
  pg_ctl -w -m fast stop
fi
exec "$@" -c listen_addresses='*'
