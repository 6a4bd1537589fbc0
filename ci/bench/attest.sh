#!/usr/bin/env bash
# Lists what an image is made of, signs that, provenance and the image, attaches
# all of it, verifies it, and prints the seconds of each: `here` with the program
# attest, `hand` as a person does with syft and cosign. Reads from the environment:
#   IMAGE      in a registry over plain http, by digest, with nothing attached
#   REVISION   commit that its label names
#   KEY        cosign's private key file, PUBLIC its public half, COSIGN_PASSWORD its password
set -euo pipefail

who=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
repository=https://github.com/example/portal
builder=$repository/builder
# Neither way asks Sigstore for anything.
offline=(--use-signing-config=false --tlog-upload=false --allow-http-registry --yes)

cat > "$work/provenance.json" <<END
{"buildDefinition": {"buildType": "$builder", "externalParameters": {"repository": "$repository", "revision": "$REVISION"},
 "resolvedDependencies": [{"uri": "git+$repository", "digest": {"gitCommit": "$REVISION"}}]}, "runDetails": {"builder": {"id": "$builder"}}}
END

hand_attest() {
  SYFT_REGISTRY_INSECURE_USE_HTTP=true SYFT_CHECK_FOR_APP_UPDATE=false \
    syft scan --quiet "registry:$IMAGE" --output "spdx-json=$work/spdx.json" --output "cyclonedx-json=$work/cyclonedx.json"
  cosign attest --key "$KEY" --type spdxjson --predicate "$work/spdx.json" "${offline[@]}" "$IMAGE"
  cosign attest --key "$KEY" --type cyclonedx --predicate "$work/cyclonedx.json" "${offline[@]}" "$IMAGE"
  cosign attest --key "$KEY" --type slsaprovenance1 --predicate "$work/provenance.json" "${offline[@]}" "$IMAGE"
  cosign sign --key "$KEY" "${offline[@]}" "$IMAGE"
}
hand_verify() {
  cosign verify --key "$PUBLIC" --insecure-ignore-tlog --allow-http-registry "$IMAGE"
  for type in spdxjson cyclonedx slsaprovenance1; do
    cosign verify-attestation --key "$PUBLIC" --type "$type" --insecure-ignore-tlog --allow-http-registry "$IMAGE" > "$work/$type.out"
  done
}

here_attest() {
  GITOPS_SIGNING_KEY=$(< "$KEY") GITOPS_SIGNING_PASSWORD=$COSIGN_PASSWORD \
    attest image "$IMAGE" --plain-http --repository "$repository" --revision "$REVISION" --builder "$builder"
}
here_verify() { attest verify-release "$IMAGE" --plain-http --key "$PUBLIC" --repository "$repository" --builder "$builder" --layers=false; }

# step NAME COMMAND… notes how long the command takes.
result=
step() {
  local began=$EPOCHREALTIME
  "${@:2}" >&2
  result+=${result:+, }\"$1\":\ $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }')
}

step attest "${who}_attest"
step verify "${who}_verify"
echo "{$result}"
