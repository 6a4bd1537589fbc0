import { existsSync, realpathSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { traceModules } from './modules.js';
import { configSchemas } from './schemas.js';
import { packageData } from './packageData.js';
import { frontends, workspaceFiles, workspaces } from './workspaces.js';
import { Tree } from './tree.js';

// What a deployed app reads beside its code, where it is present.
const RUNTIME_PATHS = [
  'app-config.yaml',
  'app-config.production.yaml',
  'app-config.postgres.yaml',
  'catalog',
  'catalog-info.yaml',
  'examples',
];

/**
 * Writes the slim tree of the workspace at `source` to `out` and tells what is
 * in it.
 */
export async function slim({ source, out, entry, include }) {
  const root = realpathSync(source);
  await check(root, entry);
  if (existsSync(out) && (await readdir(out)).length > 0) {
    throw new Error(`${out} is not empty`);
  }

  const members = await workspaces(root);
  const tree = new Tree(root);

  const traced = await traceModules(root, entry);
  tree.add(traced);
  tree.add(await packageData(root, traced));
  for (const { files, replacements } of [
    await configSchemas(root, members),
    await frontends(root, members),
  ]) {
    tree.add(files);
    tree.replace(replacements);
  }
  tree.add(workspaceFiles(root, members));
  for (const path of include ?? RUNTIME_PATHS) {
    if (existsSync(join(root, path))) {
      await tree.addPath(path);
    } else if (include) {
      throw new Error(`--include ${path}: no such file in ${source}`);
    }
  }
  for (const { name, dir } of members) {
    tree.link(`node_modules/${name}`, dir);
  }

  await mkdir(out, { recursive: true });
  return tree.write(resolve(out));
}

async function check(root, entry) {
  if (!existsSync(join(root, 'package.json'))) {
    throw new Error(`${root} is not a Backstage workspace: no package.json`);
  }
  if (!existsSync(join(root, 'node_modules'))) {
    throw new Error(
      `${root} has no node_modules: run the production dependencies stage first`
    );
  }
  if (!existsSync(join(root, entry))) {
    throw new Error(
      `${root} is not built: no ${entry}; extract packages/backend/dist/bundle.tar.gz there first`
    );
  }
}
