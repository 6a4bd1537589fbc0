# Makes the portal's role while the server's data is made: owner of its database, and nothing more. The superuser loses its
# password, so that only those in the pod are one, by the socket. The image's own script reads this into itself;
# another may run it.
set -e

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host="${SOCKET_DIR:-/var/run/postgresql}" --username="$POSTGRES_USER" \
  --dbname="$POSTGRES_DB" <<'SQL'
\set role `printf %s "$PORTAL_USER"`
\set password `printf %s "$PORTAL_PASSWORD"`
\set database `printf %s "$POSTGRES_DB"`
create role :"role" login password :'password';
alter database :"database" owner to :"role";
alter role current_user password null;
SQL
# For start.sh: the data is complete. On the disk, too, before the server takes anything in.
rm -f "$PGDATA.unfinished"
sync "${PGDATA%/*}"
