# What kind's images/base/Dockerfile does to the packages' files, with the root
# as $1: only what kind enables is started.
find "$1"/lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f "$1"/lib/systemd/system/multi-user.target.wants/* "$1"/etc/systemd/system/*.wants/* "$1"/lib/systemd/system/local-fs.target.wants/* \
  "$1"/lib/systemd/system/sockets.target.wants/*udev* "$1"/lib/systemd/system/sockets.target.wants/*initctl* "$1"/lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >> "$1"/etc/systemd/journald.conf
ln -sf /lib/systemd/systemd "$1"/sbin/init
rm -f "$1"/etc/machine-id "$1"/etc/hostname "$1"/etc/resolv.conf
