#!/bin/sh
# Dumps the database into $BACKUP_DIR and removes there what retain.sh lets go. A dump has its name once it is complete
# and can be read, never before.
set -eu
scripts=$(cd "$(dirname "$0")" && pwd)
cd "$BACKUP_DIR"

name=backstage-$(date -u +%Y%m%dT%H%M%SZ).dump
part=.$name.part
rm -f .*.part
# Also when it fails or is told to end: the next one may be a day away.
trap 'rm -f "$part"' EXIT
# The first process of a container ends by no signal that it does not handle. The image's own stop signal is INT.
trap 'kill "$!" 2> /dev/null; exit 143' TERM INT
pg_dump --format=custom --no-owner --no-acl --file="$part" &
wait "$!"
pg_restore --list "$part" > /dev/null
mv "$part" "$name"
echo "dumped $PGDATABASE as $name, $(wc -c < "$name") bytes"

old=$(wc -c backstage-*.dump | sh "$scripts/retain.sh")
for name in $old; do
  rm "$name"
  echo "removed $name"
done
