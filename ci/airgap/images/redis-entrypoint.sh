#!/bin/sh
# Options alone are redis-server's, as in the official image.
set -eu
case ${1:-} in -*) set -- redis-server "$@" ;; esac
exec "$@"
