#!/bin/sh
# iptables of the kind the kubelet uses on this host, which it marks with a
# chain of its own; without a mark, the newer kind.
set -eu
{ read -r kind < /run/iptables-kind; } 2> /dev/null || {
  kind=nft
  if ! /usr/sbin/xtables-nft-multi iptables-save -t mangle 2> /dev/null | grep -q KUBE-IPTABLES-HINT &&
    /usr/sbin/xtables-legacy-multi iptables-save -t mangle 2> /dev/null | grep -q KUBE-IPTABLES-HINT; then
    kind=legacy
  fi
  { echo "$kind" > /run/iptables-kind; } 2> /dev/null || :
}
exec "/usr/sbin/xtables-$kind-multi" "${0##*/}" "$@"
