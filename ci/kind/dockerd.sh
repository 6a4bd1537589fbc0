#!/bin/sh
# Runs dockerd for the nodes of one cluster, with the options it is given besides those for its hosts. Its storage outlives
# it, and nothing shall be in there but images: containers and volumes go when it ends, and what one that was killed left
# goes before anybody can reach the next.
set -eu

export DOCKER_HOST=unix:///var/run/docker.sock
storage=/var/lib/docker

start() {
  # In a session of its own: what ends this script must not end it before its containers.
  setsid dockerd-entrypoint.sh dockerd --host="$DOCKER_HOST" "$@" &
  daemon=$!
  until docker version > /dev/null 2>&1; do
    kill -0 "$daemon" 2> /dev/null || exit 1
    sleep 0.1
  done
}

stop() {
  kill -TERM "$daemon" 2> /dev/null || :
  while kill -0 "$daemon" 2> /dev/null; do
    wait "$daemon" || :
  done
}

clean() {
  # shellcheck disable=SC2046 # one word for each
  docker rm --force --volumes $(docker ps --all --quiet) > /dev/null 2>&1 || :
  docker volume prune --all --force > /dev/null 2>&1 || :
  docker network prune --force > /dev/null 2>&1 || :
}

any() {
  for entry in "$@"; do
    if [ -d "$entry" ]; then return; fi
  done
  return 1
}

# The port for commands is root on this machine, for whoever reaches it. That is the session, and no node and no pod.
closed() {
  "$1" -w -I INPUT -i br-+ -p tcp --dport 2375 -j REJECT &&
    "$1" -w -I INPUT -i docker0 -p tcp --dport 2375 -j REJECT
}
closed iptables || closed /usr/local/sbin/.iptables-legacy/iptables || {
  echo "the packet filter cannot keep nodes and pods from dockerd: this container has to be privileged" >&2
  exit 1
}

if any "$storage"/containers/* "$storage"/volumes/*; then
  echo "removing what an earlier run left" >&2
  start "$@"
  clean
  stop
fi
trap 'clean; stop; exit 0' TERM INT
start --host=tcp://0.0.0.0:2375 "$@"
wait "$daemon"
