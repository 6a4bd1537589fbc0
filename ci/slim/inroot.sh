#!/bin/sh
# Runs Node as the image does, without an image: as PID 1 and uid 65532, with
# TREE at /app and everything read-only but /tmp.
#
#   inroot.sh TREE SCRIPT [ARG]…
#
# SCRIPT is a path in /app, or a file of this machine. With writable=1 /app can
# be written. NODE_OPTIONS, NODE_COMPILE_CACHE, NODE_DEBUG_NATIVE, GITHUB_TOKEN,
# POSTGRES_* and APP_CONFIG_* are passed on, without spaces. Needs root.
set -eu

tree=$(realpath "$1")
script=$2
shift 2
node=$(node -p process.execPath)
root=$(mktemp -d)
export tree script node root

unshare --mount --propagation private sh -eu -c '
  mount -t tmpfs tmpfs "$root"
  cd "$root"
  mkdir -p app dev etc proc tmp usr/local/bin usr/local/slim
  touch usr/local/bin/node
  mount --bind "$node" usr/local/bin/node
  for library in $(ldd "$node" "$tree"/node_modules/better-sqlite3/build/Release/*.node |
    grep -o "/[^ :]*\.so[^ :]*" | sort -u); do
    mkdir -p ".${library%/*}"
    [ -e ".$library" ] || cp -L "$library" ".$library"
  done
  echo "127.0.0.1 localhost" >etc/hosts
  if [ -f "$script" ]; then
    cp "$script" usr/local/slim/
    script=/usr/local/slim/${script##*/}
  fi
  mount --bind "$tree" app
  [ -n "${writable:-}" ] || mount -o remount,bind,ro app
  mount --bind /dev dev
  mount -t tmpfs -o mode=1777 tmpfs tmp
  mount -o remount,ro "$root"

  passed=$(env | grep -E "^(NODE_(OPTIONS|COMPILE_CACHE|DEBUG_NATIVE)=|GITHUB_TOKEN=|POSTGRES_|APP_CONFIG_)" || true)
  exec env -i PATH=/usr/local/bin HOME=/tmp NODE_ENV=production $passed \
    /usr/bin/unshare --pid --fork --kill-child --root "$root" --wd /app \
    --setgid 65532 --setuid 65532 /usr/local/bin/node "$script" "$@"
' sh "$@" || status=$?
rmdir "$root"
exit "${status:-0}"
