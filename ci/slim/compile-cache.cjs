#!/usr/bin/env node
// Fills Node's compile cache with the modules that an app's backend loads, so
// that the image starts without compiling them.
//
//   node compile-cache.cjs --cache DIR ENTRY [ARG]…
//
// Run it where and as whom the app will run: the cache is bound to the Node
// binary, to the paths of the modules and to the uid.
//
// Equal modules give an equal cache, byte for byte:
// - a first process finds out which modules there are, and a second one, which
//   never waits for anything, loads them in one order;
// - V8 writes string hashes into the cache, so that process has a fixed seed;
// - V8 writes memory as it finds it, so that process collects no garbage and
//   reuses no memory.

const { spawnSync } = require('node:child_process');
const {
  chmodSync,
  lutimesSync,
  readdirSync,
  readFileSync,
} = require('node:fs');
const {
  constants,
  createRequire,
  enableCompileCache,
  flushCompileCache,
} = require('node:module');
const { join, resolve } = require('node:path');
const v8 = require('node:v8');

// V8's flags are part of a cache's identity: these have done their work once
// the process is up, and are set back to V8's defaults.
const FLAGS = {
  '--hash-seed=1': '--hash-seed=0',
  '--min-semi-space-size=1024': '--min-semi-space-size=0',
  '--max-semi-space-size=1024': '--max-semi-space-size=0',
  '--initial-heap-size=4096': '--initial-heap-size=0',
};

const [command, cache, entry, ...argv] = process.argv.slice(2);
if (process.env.NODE_COMPILE_CACHE) {
  // It is written as a process ends, after all that is said here was done.
  fail('unset NODE_COMPILE_CACHE: this program itself would get into the cache');
}
if (command === '--cache' && entry !== undefined) {
  build();
} else if (command === '--list') {
  list();
} else if (command === '--fill') {
  fill(JSON.parse(readFileSync(0, 'utf8')));
} else {
  fail('usage: compile-cache.cjs --cache DIR ENTRY [ARG]…');
}

/** Runs the two processes. */
function build() {
  const modules = run(['--list', cache, entry, ...argv]);
  if (modules.length === 0) {
    fail(`${entry} has loaded nothing`);
  }
  const facts = run(['--fill', cache, entry, ...argv], {
    flags: Object.keys(FLAGS),
    input: JSON.stringify(modules),
  });
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

function run(args, { flags = [], input } = {}) {
  const { NODE_OPTIONS, ...env } = process.env;
  const child = spawnSync(process.execPath, [...flags, __filename, ...args], {
    input,
    env,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'ignore', 2, 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (child.error || child.status !== 0) {
    fail(child.error?.message ?? `${args[0]} has ended with ${child.status}`);
  }
  return JSON.parse(child.output[3]);
}

/** Answers the calling process; stdout belongs to the app. */
function answer(value) {
  require('node:fs').writeFileSync(3, JSON.stringify(value));
  process.exit(0);
}

/** Lists the modules the app loads until it would start its backends. */
function list() {
  const main = asMain();
  interceptBackends(main, () => {
    loadLate();
    answer(
      Object.keys(require.cache)
        .filter(file => file !== __filename && /\.[cm]?js$/.test(file))
        .sort()
    );
  });
  require(main);
}

/** Loads the modules with the compile cache on, in one turn. */
function fill(modules) {
  Object.values(FLAGS).forEach(flag => v8.setFlagsFromString(flag));
  const { status, message } = enableCompileCache(cache);
  if (status !== constants.compileCacheStatus.ENABLED) {
    fail(`${cache}: ${message ?? `compile cache status ${status}`}`);
  }
  interceptBackends(asMain(), () => {});
  for (const file of modules) {
    attempt(() => require(file));
  }
  flushCompileCache();
  answer({ modules: modules.length, files: normalize(cache) });
}

/** Makes the entry look as if it was what Node was called with. */
function asMain() {
  const main = require.resolve(resolve(entry));
  process.argv = [process.argv[0], main, ...argv];
  return main;
}

/**
 * Lets the app create and fill its backends but not start them, and calls
 * `done` when all of them would have.
 */
function interceptBackends(main, done) {
  const fromDefaults = createRequire(
    createRequire(main).resolve('@backstage/backend-defaults')
  );
  const appApi = fromDefaults('@backstage/backend-app-api');

  let open = 0;
  const settled = () => {
    open -= 1;
    // One that the app creates after this one counts too.
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

/**
 * Loads what the framework itself requires only when it starts: the modules its
 * functions name, and the migrations of its databases.
 */
function loadLate() {
  const framework = Object.keys(require.cache)
    .filter(file => /\/node_modules\/(@backstage\/|knex\/)/.test(file))
    .sort();
  const packages = new Set();
  for (const file of framework) {
    const requireFrom = createRequire(file);
    const source = readFileSync(file, 'utf8');
    for (const [, name] of source.matchAll(/\brequire\(['"]([^'"]+)['"]\)/g)) {
      attempt(() => requireFrom(name));
    }
    packages.add(/^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)[0]);
  }
  for (const dir of packages) {
    const migrations = join(dir, 'migrations');
    for (const name of attempt(() => readdirSync(migrations).sort()) ?? []) {
      attempt(() => require(join(migrations, name)));
    }
  }
}

/** Optional dependencies are often absent, and not every folder exists. */
function attempt(load) {
  try {
    return load();
  } catch {
    return undefined;
  }
}

/** Makes all below `dir` readable and of the epoch, and counts its files. */
function normalize(dir) {
  let files = 0;
  for (const item of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, item.name);
    if (item.isDirectory()) {
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
