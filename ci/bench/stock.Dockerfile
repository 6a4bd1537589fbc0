# What a Backstage app gets by following its documentation, for `bench` to
# compare the released image with: "Building a Docker image", multi-stage build,
# of release line 1.55 (https://backstage.io/docs/deployment/docker#multi-stage-build).
# Same stages, same steps. What differs, and why:
#
# - The Node is that of the released image; the documentation has 24, with which
#   better-sqlite3 aborts.
# - Yarn 4 does not keep its cache where the documentation mounts one. It is told
#   to, and not to clear it, so both images are built with a warm one. Dagger
#   gives the mount to root (`uid=` is refused), so root hands it over.
# - This app has no plugins/ and no examples/, but a catalog/.
#
# By hand: docker build -f ci/bench/stock.Dockerfile \
#   --build-arg NODE_IMAGE=node:22.23.3-bookworm-slim backstage
ARG NODE_IMAGE

# The manifests alone: an edit of a source file installs nothing.
FROM $NODE_IMAGE AS packages
WORKDIR /app
COPY backstage.json package.json yarn.lock ./
COPY .yarn ./.yarn
COPY .yarnrc.yml ./
COPY packages packages
RUN find packages \! -name "package.json" -mindepth 2 -maxdepth 2 -exec rm -rf {} \+

# All dependencies, then the build.
FROM $NODE_IMAGE AS build
ENV PYTHON=/usr/bin/python3
# For node-gyp.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && \
    apt-get install -y --no-install-recommends python3 g++ build-essential && \
    rm -rf /var/lib/apt/lists/*
# For better-sqlite3.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && \
    apt-get install -y --no-install-recommends libsqlite3-dev && \
    rm -rf /var/lib/apt/lists/*
USER node
WORKDIR /app
COPY --from=packages --chown=node:node /app .
USER root
RUN --mount=type=cache,target=/home/node/.cache/yarn,sharing=locked \
    chown node:node /home/node/.cache/yarn && \
    setpriv --reuid=node --regid=node --init-groups \
    env HOME=/home/node YARN_GLOBAL_FOLDER=/home/node/.cache/yarn yarn install --immutable
USER node
COPY --chown=node:node . .
RUN yarn tsc
RUN yarn --cwd packages/backend build
RUN mkdir packages/backend/dist/skeleton packages/backend/dist/bundle && \
    tar xzf packages/backend/dist/skeleton.tar.gz -C packages/backend/dist/skeleton && \
    tar xzf packages/backend/dist/bundle.tar.gz -C packages/backend/dist/bundle

# The image: production dependencies, compiled once more, and the bundle.
FROM $NODE_IMAGE
ENV PYTHON=/usr/bin/python3
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && \
    apt-get install -y --no-install-recommends python3 g++ build-essential && \
    rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && \
    apt-get install -y --no-install-recommends libsqlite3-dev && \
    rm -rf /var/lib/apt/lists/*
USER node
WORKDIR /app
COPY --from=build --chown=node:node /app/.yarn ./.yarn
COPY --from=build --chown=node:node /app/.yarnrc.yml ./
COPY --from=build --chown=node:node /app/backstage.json ./
COPY --from=build --chown=node:node /app/yarn.lock /app/package.json /app/packages/backend/dist/skeleton/ ./
USER root
RUN --mount=type=cache,target=/home/node/.cache/yarn,sharing=locked \
    chown node:node /home/node/.cache/yarn && \
    setpriv --reuid=node --regid=node --init-groups \
    env HOME=/home/node YARN_GLOBAL_FOLDER=/home/node/.cache/yarn yarn workspaces focus --all --production
USER node
COPY --from=build --chown=node:node /app/packages/backend/dist/bundle/ ./
COPY --chown=node:node app-config.yaml app-config.production.yaml ./
COPY --chown=node:node catalog ./catalog
ENV NODE_ENV=production
ENV NODE_OPTIONS="--no-node-snapshot"
CMD ["node", "packages/backend", "--config", "app-config.yaml", "--config", "app-config.production.yaml"]
