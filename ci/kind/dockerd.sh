#!/bin/sh
# Runs dockerd for the nodes of one cluster, with the options it is given besides those for its hosts and its storage driver.
# Images outlive it. Containers and volumes do not, however it ends: they are on a disk of this run alone, a file without a
# name on a loop device, which the kernel lets go with this container's last mount.
set -eu

export DOCKER_HOST=unix:///var/run/docker.sock
storage=/var/lib/docker
disk=/kind

start() {
  # In a session of its own: what ends this script must not end it before its containers.
  setsid dockerd-entrypoint.sh dockerd --host="$DOCKER_HOST" --storage-driver=overlay2 "$@" &
  daemon=$!
  until docker version > /dev/null 2>&1; do
    kill -0 "$daemon" 2> /dev/null || exit 1
    sleep 0.1
  done
}

# stop also frees what the containers have written beside the images.
stop() {
  # shellcheck disable=SC2046 # one word for each
  docker rm --force --volumes $(docker ps --all --quiet) > /dev/null 2>&1 || :
  kill -TERM "$daemon" 2> /dev/null || :
  while kill -0 "$daemon" 2> /dev/null; do
    wait "$daemon" || :
  done
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

# As large as there is room, up to 64 GB, and sparse. Nothing on it has to survive a crash.
loop() {
  truncate -s "$(df -kP / | awk 'NR == 2 { print ($4 < 67108864 ? $4 : 67108864) }')K" "$disk.ext4" &&
    mkfs.ext4 -q -F -m 0 -O ^has_journal -E nodiscard,lazy_itable_init=1 "$disk.ext4" &&
    mount -t ext4 -o loop,noatime,nobarrier,noinit_itable "$disk.ext4" "$disk" &&
    rm "$disk.ext4"
}
# A container has the devices of its start, and the kernel makes more when these are in use. Who may make none has memory.
number=0
while [ "$number" -lt 64 ]; do
  [ -b "/dev/loop$number" ] || mknod "/dev/loop$number" b 7 "$number" || break
  number=$((number + 1))
done
mkdir "$disk"
loop || {
  rm -f "$disk.ext4"
  echo "no loop device: the nodes' disks are in memory" >&2
  mount -t tmpfs kind "$disk"
}
for part in containers volumes network image/overlay2/layerdb/mounts; do
  mkdir -p "$storage/$part" "$disk/$part"
  mount -o bind "$disk/$part" "$storage/$part"
done

# A daemon that was killed leaves what its containers have written beside the images: layers of no image.
for layer in "$storage"/overlay2/*/; do
  id=${layer%/}
  id=${id##*/}
  [ "$id" = l ] || grep -qsxF "$id" "$storage"/image/overlay2/layerdb/sha256/*/cache-id || rm -rf "$layer"
done
for link in "$storage"/overlay2/l/*; do
  [ -e "$link" ] || rm -f "$link"
done

trap 'stop; exit 0' TERM INT
start --host=tcp://0.0.0.0:2375 "$@"
wait "$daemon"
