import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createWorkspace } from './workspace.js';

const SCRIPT = new URL('../compile-cache.cjs', import.meta.url).pathname;

function run(args, options) {
  return spawnSync(process.execPath, args, { encoding: 'utf8', ...options });
}

function fill(cwd, cache) {
  mkdirSync(cache);
  return run([SCRIPT, '--cache', cache, 'packages/backend'], { cwd });
}

function contents(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => [
      entry.name,
      readFileSync(join(entry.parentPath, entry.name), 'base64'),
    ])
    .sort();
}

test('fills an equal cache twice, and Node accepts it', async t => {
  const root = await createWorkspace(t);
  const first = fill(root, join(root, 'first'));
  const second = fill(root, join(root, 'second'));

  assert.equal(first.status, 0, first.stderr);
  // Entry, used, its lib/a, and the three Backstage packages; the migration.
  assert.deepEqual(JSON.parse(first.stdout), { modules: 7, files: 7 });
  assert.deepEqual(JSON.parse(second.stdout), { modules: 7, files: 7 });
  assert.deepEqual(
    contents(join(root, 'first')),
    contents(join(root, 'second'))
  );

  const { stdout, stderr } = run(['-e', "require('used')"], {
    cwd: root,
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: join(root, 'first'),
      NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
    },
  });
  const log = stdout + stderr;
  assert.match(log, /used\/lib\/a\.js was accepted/);
  assert.doesNotMatch(log, /rejected/);
});

test('keeps itself out of the cache', async t => {
  const root = await createWorkspace(t);
  const cache = join(root, 'cache');
  const { status, stderr } = run(
    [SCRIPT, '--cache', cache, 'packages/backend'],
    { cwd: root, env: { ...process.env, NODE_COMPILE_CACHE: cache } }
  );

  assert.equal(status, 1);
  assert.match(stderr, /unset NODE_COMPILE_CACHE/);
});

test('has an app that cannot start, so that filling proves it does not', async t => {
  const root = await createWorkspace(t);
  const { stderr } = run(['packages/backend'], { cwd: root });
  assert.match(stderr, /Error: started/);
});

test('says what is wrong with the entry', async t => {
  const root = await createWorkspace(t);
  rmSync(join(root, 'packages/backend/dist'), { recursive: true });
  const { status, stderr } = fill(root, join(root, 'cache'));

  assert.equal(status, 1);
  assert.match(stderr, /Cannot find module/);
});
