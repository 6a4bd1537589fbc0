#!/bin/sh
# Copies the dump of $BACKUP_DIR into $BUCKET and keeps the newest $KEEP dumps there.
set -eu

rclone copy --include 'backstage-*.dump' "$BACKUP_DIR" "$BUCKET"
# What is not there as it should be fails here, before anything is removed.
rclone check --one-way --include 'backstage-*.dump' "$BACKUP_DIR" "$BUCKET"
echo "copied $(ls "$BACKUP_DIR") to $BUCKET"

# A list that is refused is an error, not an empty list.
all=$(rclone lsf --include 'backstage-*.dump' "$BUCKET")
printf '%s\n' "$all" | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
  rclone deletefile "$BUCKET/$old"
  echo "removed $old"
done
