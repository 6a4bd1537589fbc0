#!/bin/sh
# Puts the dump $FROM, a name or `latest`, of $BACKUP_DIR in place of what the database holds: all of it or nothing.
set -eu
cd "$BACKUP_DIR"
tmp=${TMPDIR:-/tmp}

if [ "$FROM" = latest ]; then
  FROM=$(ls | grep -E '^backstage-[0-9]{8}T[0-9]{6}Z\.dump$' | sort | tail -n 1) || true
fi
if [ ! -f "$FROM" ]; then
  echo >&2 "there is no dump ${FROM:-at all}, but: $(ls | tr '\n' ' ')"
  exit 1
fi

# What came after the dump goes as well: the schema of a later version would not fit the rest.
cat > "$tmp/restore.sql" <<'SQL'
do $$
declare name text;
begin
  for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public') loop
    execute format('drop schema %I cascade', name);
  end loop;
end $$;
SQL
# A file, not a pipe: half of a dump must not be committed.
pg_restore --no-owner --no-acl --file=- "$FROM" > "$tmp/dump.sql"
cat "$tmp/dump.sql" >> "$tmp/restore.sql"

# The portal's pods end meanwhile; a session of theirs would wait for the restore, and the restore for it.
tries=60
while :; do
  sessions=$(psql --no-psqlrc --tuples-only --no-align --command "select count(*) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'")
  [ "$sessions" != 0 ] || break
  tries=$((tries - 1))
  if [ "$tries" = 0 ]; then
    echo >&2 "$sessions sessions still use $PGDATABASE; end them, this Job tries again"
    exit 1
  fi
  sleep "${PAUSE:-2}"
done

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --single-transaction --file="$tmp/restore.sql" > /dev/null
echo "restored $PGDATABASE from $FROM"
