#!/bin/sh
# Dumps the database into $BACKUP_DIR and keeps the newest $KEEP dumps there. A dump has its name once it is complete
# and can be read, never before.
set -eu
cd "$BACKUP_DIR"

name=backstage-$(date -u +%Y%m%dT%H%M%SZ).dump
rm -f .*.part
pg_dump --format=custom --no-owner --no-acl --file=".$name.part"
pg_restore --list ".$name.part" > /dev/null
mv ".$name.part" "$name"
echo "dumped $PGDATABASE as $name, $(wc -c < "$name") bytes"

ls backstage-*.dump | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
  rm "$old"
  echo "removed $old"
done
