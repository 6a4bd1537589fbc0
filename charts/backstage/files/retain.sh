#!/bin/sh
# Reads dumps, `SIZE NAME` a line, and prints the names of those that may go: older than $KEEP_DAYS days, with $KEEP
# newer ones. What dump.sh has not named is none of them. After a loss each new dump is a dump of what is left. So the
# newest $KEEP whole ones stay as well, those of at least half the size of the largest.
set -eu

before=backstage-$(date -u -d "@$(($(date +%s) - KEEP_DAYS * 86400))" +%Y%m%dT%H%M%SZ).dump
{ grep -E '^ *[0-9]+ backstage-[0-9]{8}T[0-9]{6}Z\.dump$' || true; } | sort -r -k 2 | awk -v keep="$KEEP" -v before="$before" '
  { size[NR] = $1; name[NR] = $2; if ($1 > largest) largest = $1 }
  END {
    if (NR && size[1] * 2 < largest)
      print "warning: " name[1] " has " size[1] " bytes, less than half of the largest dump: look at what the database holds" > "/dev/stderr"
    for (i = 1; i <= NR; i++) {
      whole = size[i] * 2 >= largest
      if (i > keep && name[i] < before && !(whole && wholes < keep)) print name[i]
      wholes += whole
    }
  }'
