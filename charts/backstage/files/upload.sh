#!/bin/sh
# Copies the dump of $BACKUP_DIR into $BUCKET and removes there what retain.sh lets go.
set -eu

rclone copy --include 'backstage-*.dump' "$BACKUP_DIR" "$BUCKET"
# What is not there as it should be fails here, before anything is removed.
rclone check --one-way --include 'backstage-*.dump' "$BACKUP_DIR" "$BUCKET"
echo "copied $(ls "$BACKUP_DIR") to $BUCKET"

# A list that is refused is an error, not an empty list.
all=$(rclone lsf --files-only --format sp --separator ' ' --include 'backstage-*.dump' "$BUCKET")
old=$(printf '%s\n' "$all" | sh "$(dirname "$0")/retain.sh")
for name in $old; do
  rclone deletefile "$BUCKET/$name"
  echo "removed $name"
done
