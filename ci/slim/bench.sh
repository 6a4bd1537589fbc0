#!/bin/sh
# Compares the layouts of layouts.sh: sizes, and the time from start to
# readiness of both ports, in turns.
#
#   bench.sh OUT [ROUNDS]
#
# Prints a Markdown table. Needs root, curl, and ports 4001 and 8000.
set -eu

out=$(realpath "$1")
rounds=${2:-5}
here=$(dirname "$(realpath "$0")")

now() { echo $(($(date +%s%N) / 1000000)); }

answers() {
  [ "$(curl -s -m 1 -o /dev/null -w '%{http_code}' \
    "http://localhost:$1/.backstage/health/v1/readiness")" = 200 ]
}

# The process that others have started and that has started none.
last_child() {
  last=$1
  while child=$(pgrep -P "$last" | head -n 1) && [ -n "$child" ]; do last=$child; done
  echo "$last"
}

# Milliseconds to readiness, of processor until then, and megabytes resident.
start() {
  started=$(now)
  NODE_COMPILE_CACHE=$2 "$here/inroot.sh" "$out/$1" packages/backend \
    --config app-config.yaml --config app-config.production.yaml \
    >"$out/$1.run.log" 2>&1 &
  runner=$!
  until answers 4001 && answers 8000; do
    kill -0 "$runner" 2>/dev/null || {
      tail -n 20 "$out/$1.run.log" >&2
      exit 1
    }
    sleep 0.02
  done
  ready=$(($(now) - started))
  process=$(last_child "$runner")
  processor=$(awk '{ print ($14 + $15) * 10 }' "/proc/$process/stat")
  memory=$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$process/status")
  kill -TERM "$process"
  wait "$runner"
  echo "$ready $processor $memory"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

rm -f "$out"/stock.times "$out"/slim.times
for _ in $(seq "$rounds"); do
  start stock '' >>"$out/stock.times"
  start slim /app/.compile-cache >>"$out/slim.times"
done

row() {
  stock=$2
  slim=$3
  echo "| $1 | $stock | $slim | $(awk "BEGIN { printf \"%.2f\", $slim / $stock }") |"
}
disk() { du -sm --apparent-size "$out/$1" | cut -f 1; }
packed() { tar -C "$out/$1" -cf - . | gzip -6 | wc -c | awk '{ printf "%.1f", $1 / 1e6 }'; }
column() { cut -d ' ' -f "$2" "$out/$1.times" | median; }

echo "| /app, median of $rounds starts | stock | slim | ratio |"
echo '| --- | --- | --- | --- |'
row 'MB on disk' "$(disk stock)" "$(disk slim)"
row 'MB compressed' "$(packed stock)" "$(packed slim)"
row 'files' "$(find "$out/stock" -type f | wc -l)" "$(find "$out/slim" -type f | wc -l)"
row 'ms to readiness' "$(column stock 1)" "$(column slim 1)"
row 'ms of processor until then' "$(column stock 2)" "$(column slim 2)"
row 'MB resident then' "$(column stock 3)" "$(column slim 3)"
