#!/usr/bin/env node
// Fills Node's compile cache with the modules that an app's backend loads, so
// that the image starts without compiling them.
//
//   node FLAGS compile-cache.cjs --cache DIR ENTRY [ARG]…
//
// with FLAGS as printed by `node compile-cache.cjs --flags`. Run it where and
// as whom the app will run: the cache is bound to the Node binary, to the paths
// of the modules and to the uid.
//
// Equal modules give an equal cache, byte for byte:
// - V8 writes string hashes into it, so their seed is fixed;
// - it also writes memory as it finds it, so nothing is collected, and nothing
//   reused, before it is done;
// - the backend is loaded and never started, so no timing decides which of its
//   functions have been compiled.
//
// The flags are part of a cache's identity. They have done their work once Node
// is up, and are set back before the first module is compiled.

const { readdirSync, chmodSync, lutimesSync } = require('node:fs');
const {
  createRequire,
  enableCompileCache,
  flushCompileCache,
  constants,
} = require('node:module');
const { join, resolve } = require('node:path');
const v8 = require('node:v8');

const FLAGS = {
  '--hash-seed': 1,
  '--min-semi-space-size': 1024,
  '--max-semi-space-size': 1024,
  '--initial-heap-size': 4096,
};

const [option, ...args] = process.argv.slice(2);
if (option === '--flags') {
  process.stdout.write(
    `${Object.entries(FLAGS)
      .map(flag => flag.join('='))
      .join(' ')}\n`
  );
} else if (option === '--cache' && args.length >= 2) {
  fill(...args);
} else {
  fail('usage: node FLAGS compile-cache.cjs --cache DIR ENTRY [ARG]…');
}

function fill(cache, entry, ...argv) {
  for (const [flag, value] of Object.entries(FLAGS)) {
    if (!process.execArgv.includes(`${flag}=${value}`)) {
      fail(`${flag}=${value} is missing: see compile-cache.cjs --flags`);
    }
    v8.setFlagsFromString(`${flag}=0`);
  }
  const { status, message, directory } = enableCompileCache(cache);
  if (status !== constants.compileCacheStatus.ENABLED) {
    fail(`${cache}: ${message ?? `compile cache status ${status}`}`);
  }

  const main = require.resolve(resolve(entry));
  process.argv = [process.argv[0], main, ...argv];
  interceptBackends(main, () => {
    flushCompileCache();
    const files = normalize(directory);
    if (files === 0) {
      fail(`${entry} has loaded nothing`);
    }
    process.stdout.write(`${JSON.stringify({ directory, files })}\n`);
    process.exit(0);
  });
  require(main);
}

/**
 * Lets the app create and fill its backends, and calls `done` once all of them
 * would have started.
 */
function interceptBackends(main, done) {
  const fromDefaults = createRequire(
    createRequire(main).resolve('@backstage/backend-defaults')
  );
  const appApi = fromDefaults('@backstage/backend-app-api');

  let open = 0;
  const settled = () => {
    open -= 1;
    // A backend that is created next, in this turn or a later one, counts too.
    setTimeout(() => open === 0 && done(), 500);
  };
  appApi.createSpecializedBackend = () => {
    open += 1;
    const features = [];
    return {
      add: feature => features.push(feature),
      start: () => {
        Promise.all(features).then(settled, error => fail(error.stack));
        return new Promise(() => {});
      },
      stop: async () => {},
    };
  };
}

/** Makes all below `dir` readable and of the epoch, and counts its files. */
function normalize(dir) {
  let files = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      files += normalize(path);
    } else {
      files += 1;
      chmodSync(path, 0o644);
      lutimesSync(path, 0, 0);
    }
  }
  chmodSync(dir, 0o755);
  lutimesSync(dir, 0, 0);
  return files;
}

function fail(message) {
  process.stderr.write(`compile-cache: ${message}\n`);
  process.exit(1);
}
