#!/bin/sh
# Copies the dump $FROM, a name or `latest`, from $BUCKET into $BACKUP_DIR.
set -eu

if [ "$FROM" = latest ]; then
  # A list that is refused is an error, not an empty list.
  all=$(rclone lsf --files-only --include 'backstage-*.dump' "$BUCKET")
  FROM=$(printf '%s\n' "$all" | grep -E '^backstage-[0-9]{8}T[0-9]{6}Z\.dump$' | sort | tail -n 1)
fi
if [ -z "$FROM" ]; then
  echo >&2 "there is no dump in $BUCKET"
  exit 1
fi
rclone copyto "$BUCKET/$FROM" "$BACKUP_DIR/$FROM"
echo "copied $FROM from $BUCKET"
