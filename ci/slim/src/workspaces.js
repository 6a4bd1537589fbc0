import { existsSync } from 'node:fs';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filesBelow } from './files.js';
import { pruneToFrontend } from './prune.js';
import { configLoader } from './schemas.js';

/** The workspace's packages: name, folder relative to the root, manifest. */
export async function workspaces(root) {
  const { workspaces: patterns = [] } = await readManifest(root, '.');
  const globs = Array.isArray(patterns) ? patterns : patterns.packages;
  const members = [];
  for (const pattern of globs) {
    for await (const dir of glob(pattern, { cwd: root })) {
      if (existsSync(join(root, dir, 'package.json'))) {
        const manifest = await readManifest(root, dir);
        members.push({ name: manifest.name, dir, manifest });
      }
    }
  }
  return members.sort((a, b) => (a.dir < b.dir ? -1 : 1));
}

/** The manifests by which Backstage finds its root and its packages. */
export function workspaceFiles(root, members) {
  return [
    'package.json',
    'backstage.json',
    ...members.map(({ dir }) => `${dir}/package.json`),
  ].filter(path => existsSync(join(root, path)));
}

/** The built apps that app-backend serves, with their schemas reduced. */
export async function frontends(root, members) {
  const files = [];
  const replacements = {};
  for (const { dir, manifest } of members) {
    if (manifest.backstage?.role !== 'frontend') {
      continue;
    }
    const dist = `${dir}/dist`;
    files.push(...(await filesBelow(root, dist)));
    const schema = `${dist}/.config-schema.json`;
    if (existsSync(join(root, schema))) {
      const built = JSON.parse(await readFile(join(root, schema), 'utf8'));
      // The app's build leaves them in the order in which their files were read.
      const schemas = built.schemas.sort((a, b) => (a.path < b.path ? -1 : 1));
      const merged = configLoader(root).mergeConfigSchemas(
        schemas.map(({ value }) => value)
      );
      replacements[schema] = JSON.stringify({
        ...built,
        schemas: [
          {
            packageName: manifest.name,
            path: schema,
            value: pruneToFrontend(merged),
          },
        ],
      });
    }
  }
  return { files, replacements };
}

async function readManifest(root, dir) {
  return JSON.parse(await readFile(join(root, dir, 'package.json'), 'utf8'));
}
