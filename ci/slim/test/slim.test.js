import assert from 'node:assert/strict';
import { lstat, readFile, readdir, readlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { slim } from '../src/slim.js';
import { createWorkspace, WORKSPACE } from './workspace.js';

const ENTRY = 'packages/backend/dist/index.cjs.js';

async function filesOf(root) {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => !entry.isDirectory())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

test('keeps what the backend loads, be it only when asked for, and nothing else', async t => {
  const source = await createWorkspace(t);
  const out = join(source, 'out');

  await slim({ source, out, entry: ENTRY });

  assert.deepEqual(await filesOf(out), [
    'app-config.yaml',
    'backstage.json',
    'catalog/org.yaml',
    'node_modules/@backstage/backend-app-api/index.js',
    'node_modules/@backstage/backend-app-api/package.json',
    'node_modules/@backstage/backend-defaults/index.js',
    'node_modules/@backstage/backend-defaults/package.json',
    'node_modules/@backstage/plugin/index.js',
    'node_modules/@backstage/plugin/migrations/1_init.js',
    'node_modules/@backstage/plugin/package.json',
    'node_modules/app',
    'node_modules/asked/cjs.cjs',
    'node_modules/asked/node.cjs',
    'node_modules/asked/package.json',
    'node_modules/backend',
    'node_modules/used/index.js',
    'node_modules/used/lib/a.js',
    'node_modules/used/package.json',
    'package.json',
    'packages/app/dist/index.html',
    'packages/app/dist/static/main.js',
    'packages/app/package.json',
    'packages/backend/dist/asked.cjs.js',
    'packages/backend/dist/index.cjs.js',
    'packages/backend/package.json',
  ]);
  assert.equal(
    await readlink(join(out, 'node_modules/backend')),
    '../packages/backend'
  );
  const plugin = JSON.parse(
    await readFile(join(out, 'node_modules/@backstage/plugin/package.json'))
  );
  assert.deepEqual(plugin.configSchema, {
    type: 'object',
    properties: { key: { visibility: 'secret' } },
  });
});

test('writes plain modes and the times of the epoch', async t => {
  const source = await createWorkspace(t);
  const out = join(source, 'out');
  await utimes(join(source, 'package.json'), 5, 5);

  await slim({ source, out, entry: ENTRY });

  for (const file of [...(await filesOf(out)), 'node_modules', '.']) {
    const stat = await lstat(join(out, file));
    assert.equal(stat.mtimeMs, 0, file);
    assert.equal(stat.mode & 0o022 & ~(stat.isSymbolicLink() ? 0o777 : 0), 0);
  }
});

const refused = [
  {
    name: 'a folder without an app',
    files: {},
    message: /is not a Backstage workspace: no package.json/,
  },
  {
    name: 'an app that is not built',
    files: { 'package.json': '{}', 'node_modules/.keep': '' },
    message: /is not built: no packages\/backend\/dist\/index.cjs.js/,
  },
  {
    name: 'a path that is not there',
    files: WORKSPACE,
    options: { include: ['examples'] },
    message: /--include examples: no such file/,
  },
  {
    name: 'an output that holds something',
    files: WORKSPACE,
    options: { out: '.' },
    message: /is not empty/,
  },
];

for (const { name, files, options = {}, message } of refused) {
  test(`refuses ${name}`, async t => {
    const source = await createWorkspace(t, files);
    const out = join(source, options.out ?? 'out');
    await assert.rejects(
      slim({ source, entry: ENTRY, ...options, out }),
      message
    );
  });
}
