#!/bin/sh
# Starts the image's server where the portal's role is no superuser. The image runs role.sh only while it makes the data, and
# takes data whose making was interrupted for complete, with no role for the portal. So a mark beside the data says that it
# is being made; role.sh removes it.
set -eu

mark=$PGDATA.unfinished
if [ -e "$mark" ] && [ -e "$PGDATA" ]; then
  # Kept until the next time: nothing that was ever in use is here, unless somebody has put it in by hand.
  rm -rf "$PGDATA.interrupted"
  mv "$PGDATA" "$PGDATA.interrupted"
  echo "$PGDATA was not made to its end: it is $PGDATA.interrupted now, and made anew"
fi
if [ ! -d "$PGDATA" ] || [ -z "$(ls -A "$PGDATA")" ]; then
  case $PORTAL_USER in
    '' | "$POSTGRES_USER" | public | none | pg_*)
      echo >&2 "the user in the Secret is '$PORTAL_USER', which PostgreSQL has for itself: write another name there, such as backstage"
      exit 1
      ;;
  esac
  : > "$mark"
fi
exec docker-entrypoint.sh "$@"
