#!/bin/sh
# The entrypoint of the official docker:dind image, without TLS.
set -eu

# No arguments, or options only: they are dockerd's, after the default hosts.
case ${1:--} in
  -*)
    [ -z "${DOCKER_TLS_CERTDIR:-}" ] || {
      echo >&2 'this image makes no certificates: leave DOCKER_TLS_CERTDIR empty, or give "dockerd" with options of your own'
      exit 1
    }
    set -- dockerd --host="${DOCKER_HOST:-unix:///var/run/docker.sock}" --host=tcp://0.0.0.0:2375 "$@"
    ;;
esac
[ "$1" = dockerd ] || exec "$@"

# What a daemon that was killed left behind.
find /run /var/run -iname 'docker*.pid' -delete || :

# On cgroup v1 a privileged container gets all devices, which its daemon can
# hand on only where its own group has them. There is no such file on v2.
if [ -w /sys/fs/cgroup/devices/devices.allow ]; then
  echo a > /sys/fs/cgroup/devices/devices.allow || :
fi

# Kernels without nf_tables, and network namespaces that have rules of the
# older kind already, need the older iptables.
if grep -qs . /proc/net/ip_tables_names /proc/net/ip6_tables_names || ! iptables -nL > /dev/null 2>&1; then
  export PATH="/usr/local/sbin/.iptables-legacy:$PATH"
fi
iptables --version

# docker-init reaps the shims; dind is moby's own wrapper, which makes mounts
# shared and nests control groups.
exec docker-init -- /usr/local/bin/dind "$@"
