#!/bin/sh
# Runs every stage on this machine, without Dagger:
#
#   layouts.sh APP OUT
#
# OUT/stock  the bundle beside all production dependencies, what is traced
# OUT/slim   the tree of the slim image
#
# Both are for /app and belong to uid 65532 there. Needs root (the compile cache
# is filled in a chroot), Node 22 as `node`, and what README.md says of the
# dependency stages.
set -eu

app=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
yarn="node $(echo "$app"/.yarn/releases/yarn-*.cjs)"
export npm_config_build_from_source=true

# A stage sees its inputs only, so that this says what they are.
manifests() {
  mkdir -p "$1"
  (cd "$app" && tar -cf - .yarn/releases .yarnrc.yml backstage.json package.json \
    yarn.lock packages/*/package.json) | tar -xf - -C "$1"
}

stage() {
  started=$(date +%s)
  name=$1
  shift
  "$@" >"$out/$name.log" 2>&1 || {
    tail -n 40 "$out/$name.log" >&2
    exit 1
  }
  echo "$name $(($(date +%s) - started)) s" >&2
}

dependencies() {
  manifests "$out/build"
  cd "$out/build"
  $yarn install --immutable
}

build() {
  (cd "$app" && tar -cf - --exclude=node_modules --exclude=dist \
    --exclude=dist-types --exclude=.yarn --exclude=coverage .) |
    tar -xf - -C "$out/build"
  cd "$out/build"
  GIT_DIR=/dev/null SOURCE_DATE_EPOCH=0 \
    NODE_OPTIONS="--require $here/build-info.cjs" $yarn workspace backend build
}

production() {
  manifests "$out/production"
  cd "$out/production"
  $yarn workspaces focus --production backend
}

bundle() {
  cp -a "$out/production" "$out/stock"
  cd "$out/stock"
  tar -xzf "$out/build/packages/backend/dist/bundle.tar.gz"
  chmod 755 .
  cp -a "$out"/build/app-config*.yaml "$out/build/catalog" .
}

trace() {
  cd "$here"
  $yarn install --immutable
  node trace.js --source "$out/stock" --out "$out/slim"
}

compile_cache() {
  mkdir "$out/slim/.compile-cache"
  chown 65532:65532 "$out/slim/.compile-cache"
  writable=1 "$here/inroot.sh" "$out/slim" "$here/compile-cache.cjs" \
    --cache /app/.compile-cache packages/backend \
    --config app-config.yaml --config app-config.production.yaml
}

rm -rf "$out/build" "$out/production" "$out/stock" "$out/slim"
stage dependencies dependencies
stage build build
stage production production
stage bundle bundle
stage trace trace
stage compile-cache compile_cache
