#!/bin/sh
# DevTools on port 9222 of every address: the browser itself listens on the
# loopback only, whatever it is told. Arguments are the browser's.
set -eu
socat TCP4-LISTEN:9222,fork,reuseaddr TCP4:127.0.0.1:9223 &
exec tini -- /headless-shell/headless-shell --no-sandbox --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader \
  --remote-debugging-address=127.0.0.1 --remote-debugging-port=9223 --user-data-dir=/tmp/headless-shell "$@"
