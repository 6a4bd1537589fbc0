#!/bin/sh
# The CNI plugin of flannel: gives the bridge plugin the subnet that flanneld
# has for this node, and keeps what it gave until the container ends.
set -eu
conf=$(cat)
field() { printf '%s' "$conf" | jq -r "$1"; }
kept=$(field '.dataDir // "/var/lib/cni/flannel"')/${CNI_CONTAINERID:-none}
fail() {
  jq -cn --arg msg "$1" '{cniVersion: "0.3.1", code: 11, msg: $msg}'
  exit 1
}

case ${CNI_COMMAND:-} in
  VERSION)
    echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0"]}'
    exit
    ;;
  STATUS)
    [ -r /run/flannel/subnet.env ] || fail 'flanneld has no subnet for this node yet'
    exit
    ;;
  ADD)
    env=$(field '.subnetFile // "/run/flannel/subnet.env"')
    [ -r "$env" ] || fail "$env is not there: flanneld has no subnet for this node yet"
    . "$env"
    delegate=$(printf '%s' "$conf" | jq -c \
      --arg subnet "$FLANNEL_SUBNET" --arg network "$FLANNEL_NETWORK" --argjson mtu "$FLANNEL_MTU" --argjson masq "$FLANNEL_IPMASQ" '
      {cniVersion, name, type: "bridge", isGateway: true, mtu: $mtu, ipMasq: ($masq | not)} + (.delegate // {})
      + {name, cniVersion, ipam: ({type: "host-local"} + (.ipam // {}) + {
          ranges: [[{subnet: ($subnet | sub("\\.[0-9]+/"; ".0/"))}]], routes: [{dst: $network}]})}
      + (if .runtimeConfig then {runtimeConfig} else {} end)')
    mkdir -p "${kept%/*}"
    printf '%s\n' "$delegate" > "$kept"
    ;;
  *)
    # The end of a container that was never added, or is gone already.
    [ -r "$kept" ] || exit 0
    delegate=$(printf '%s' "$conf" | jq -c --slurpfile kept "$kept" '$kept[0] + (if .prevResult then {prevResult} else {} end)')
    ;;
esac

code=0
printf '%s' "$delegate" | "${CNI_PATH%%:*}/$(printf '%s' "$delegate" | jq -r .type)" || code=$?
[ "$CNI_COMMAND" != DEL ] || [ "$code" != 0 ] || rm -f "$kept"
exit "$code"
