import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const json = value => JSON.stringify(value);

/** The smallest app of the layout, built and with its dependencies. */
export const WORKSPACE = {
  'package.json': json({ name: 'root', workspaces: ['packages/*'] }),
  'backstage.json': json({ version: '1.0.0' }),
  'app-config.yaml': 'app: {}\n',
  'app-config.local.yaml': 'app: { title: mine }\n',
  'catalog/org.yaml': 'kind: Group\n',
  'packages/app/package.json': json({
    name: 'app',
    backstage: { role: 'frontend' },
  }),
  'packages/app/dist/index.html': '<html></html>',
  'packages/app/dist/static/main.js': '1',
  'packages/app/dist/static/main.js.map': '{}',
  'packages/backend/package.json': json({
    name: 'backend',
    main: 'dist/index.cjs.js',
    backstage: { role: 'backend' },
    dependencies: { '@backstage/plugin': '1.0.0', used: '1.0.0' },
  }),
  'packages/backend/src/index.ts': 'export {};',
  'packages/backend/dist/index.cjs.js': `
    require('used');
    if (process.env.ASKED) import('./asked.cjs.js');
    require('@backstage/backend-defaults').createBackend().start();
  `,
  'packages/backend/dist/asked.cjs.js': `require('asked');`,
  'node_modules/asked/package.json': json({
    name: 'asked',
    exports: { '.': { require: './cjs.cjs', default: './esm.mjs' } },
    imports: {
      '#platform': {
        node: { require: './node.cjs', default: './node.mjs' },
        default: './browser.cjs',
      },
    },
  }),
  'node_modules/asked/cjs.cjs': `require('#platform');`,
  'node_modules/asked/esm.mjs': '',
  'node_modules/asked/node.cjs': '',
  'node_modules/asked/node.mjs': '',
  'node_modules/asked/browser.cjs': '',
  'node_modules/used/package.json': json({ name: 'used' }),
  'node_modules/used/index.js': `module.exports = require('./lib/a');`,
  'node_modules/used/index.d.ts': 'export {};',
  'node_modules/used/README.md': '# used',
  'node_modules/used/lib/a.js': 'exports.answer = () => 42;',
  'node_modules/used/lib/unused.js': 'module.exports = 2;',
  'node_modules/unused/package.json': json({ name: 'unused' }),
  'node_modules/unused/index.js': '',
  'node_modules/@backstage/plugin/package.json': json({
    name: '@backstage/plugin',
    backstage: { role: 'backend-plugin' },
    configSchema: {
      type: 'object',
      properties: {
        name: { type: 'string' },
        key: { type: 'string', visibility: 'secret' },
      },
    },
    dependencies: { '@backstage/types': '1.0.0' },
  }),
  'node_modules/@backstage/plugin/index.js': `
    exports.createBackend = () =>
      require('@backstage/backend-app-api').createSpecializedBackend();
  `,
  'node_modules/@backstage/plugin/migrations/1_init.js':
    'exports.up = () => {};',
  'node_modules/@backstage/plugin/migrations/1_init.d.ts': 'export {};',
  'node_modules/@backstage/backend-defaults/package.json': json({
    name: '@backstage/backend-defaults',
  }),
  'node_modules/@backstage/backend-defaults/index.js': `
    module.exports = require('@backstage/plugin');
  `,
  'node_modules/@backstage/backend-app-api/package.json': json({
    name: '@backstage/backend-app-api',
  }),
  'node_modules/@backstage/backend-app-api/index.js': `
    exports.createSpecializedBackend = () => {
      throw new Error('started');
    };
  `,
};

/** Writes files below a new folder that the test removes. */
export async function createWorkspace(test, files = WORKSPACE) {
  const root = await mkdtemp(join(tmpdir(), 'slim-'));
  test.after(() => rm(root, { recursive: true, force: true }));
  for (const [file, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), content);
  }
  await mkdir(join(root, 'node_modules'), { recursive: true });
  for (const name of ['app', 'backend']) {
    if (files[`packages/${name}/package.json`]) {
      await symlink(`../packages/${name}`, join(root, 'node_modules', name));
    }
  }
  return root;
}
