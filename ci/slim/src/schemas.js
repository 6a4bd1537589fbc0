import { existsSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pruneToSecrets } from './prune.js';

/**
 * Finds the configuration schemas the way @backstage/config-loader does at
 * start: from the workspace's packages through the dependencies of every
 * package that has a schema or depends on Backstage.
 *
 * They are reduced to what a running backend asks of them, and those in
 * TypeScript are compiled, so that no compiler is needed then. The schema that
 * app-backend asks is another: the app's build has left it in its dist.
 */
export async function configSchemas(root, members) {
  const found = [];
  const seen = new Set();
  const queue = members.map(({ dir }) => join(root, dir, 'package.json'));
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const manifestPath = realpathSync(path);
    if (seen.has(manifestPath)) {
      continue;
    }
    seen.add(manifestPath);

    const manifest = JSON.parse(await readFile(manifestPath, 'utf8'));
    const dependencies = Object.keys({
      ...manifest.dependencies,
      ...manifest.devDependencies,
      ...manifest.optionalDependencies,
      ...manifest.peerDependencies,
    });
    const backstage = dependencies.some(name => name.startsWith('@backstage/'));
    if (!manifest.configSchema && !backstage) {
      continue;
    }
    found.push(await schemaOf(root, manifestPath, manifest));

    const require = createRequire(manifestPath);
    for (const name of dependencies) {
      const dependency = resolveManifest(require, name);
      if (dependency) {
        queue.push(dependency);
      }
    }
  }
  return found;
}

async function schemaOf(root, manifestPath, manifest) {
  const file = relative(root, manifestPath);
  const { configSchema } = manifest;
  if (configSchema === undefined) {
    return { files: [file], replacements: {} };
  }
  if (typeof configSchema !== 'string') {
    const pruned = { ...manifest, configSchema: pruneToSecrets(configSchema) };
    return { files: [], replacements: { [file]: json(pruned) } };
  }

  const path = join(dirname(manifestPath), configSchema);
  if (!configSchema.endsWith('.d.ts')) {
    const schema = JSON.parse(await readFile(path, 'utf8'));
    return {
      files: [file],
      replacements: { [relative(root, path)]: json(pruneToSecrets(schema)) },
    };
  }
  const name = configSchema.replace(/\.d\.ts$/, '.schema.json');
  const schema = await compile(root, manifestPath);
  return {
    files: [],
    replacements: {
      [file]: json({ ...manifest, configSchema: name }),
      [join(dirname(file), name)]: json(pruneToSecrets(schema)),
    },
  };
}

async function compile(root, manifestPath) {
  const schema = await configLoader(root).loadConfigSchema({
    dependencies: [],
    packagePaths: [manifestPath],
    excludePackageDependencies: true,
  });
  const [{ value }] = schema.serialize().schemas;
  return value;
}

/** The workspace's own @backstage/config-loader. */
export function configLoader(root) {
  return createRequire(join(root, 'package.json'))('@backstage/config-loader');
}

function resolveManifest(require, name) {
  try {
    return require.resolve(`${name}/package.json`);
  } catch {
    const path = (require.resolve.paths(name) ?? [])
      .map(dir => join(dir, name, 'package.json'))
      .find(existsSync);
    return path;
  }
}

function json(value) {
  return `${JSON.stringify(value, null, 2)}\n`;
}
