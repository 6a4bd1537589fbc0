# The user and the folders of Argo CD's Dockerfile, with the root as $1.
set -eu
echo 'argocd:x:999:999::/home/argocd:/bin/sh' >> "$1/etc/passwd"
echo 'argocd:x:999:' >> "$1/etc/group"
mkdir -p "$1/home/argocd" "$1/app/config/ssh" "$1/app/config/tls" "$1/app/config/gpg/source" "$1/app/config/gpg/keys"
chown 999:0 "$1/home/argocd"
chmod g=u "$1/home/argocd"
chown 999 "$1/app/config/gpg/keys"
chmod 0700 "$1/app/config/gpg/keys"
touch "$1/app/config/ssh/ssh_known_hosts"
ln -sf /app/config/ssh/ssh_known_hosts "$1/etc/ssh/ssh_known_hosts"
