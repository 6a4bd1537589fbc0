import { existsSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pruneToSecrets } from './prune.js';

const DEPENDENCIES = [
  'dependencies',
  'devDependencies',
  'optionalDependencies',
  'peerDependencies',
];

/**
 * Writes manifests that answer at once what @backstage/config-loader searches
 * all packages for at start: the schemas that mark secrets.
 *
 * It goes from the workspace's packages through the dependencies of every
 * package that has a schema or depends on Backstage. In the slim tree only the
 * dependencies that lead it somewhere are left to it, and schemas are part of
 * the manifests, reduced to secrets; those in TypeScript are compiled.
 * The schema that app-backend asks is another: see workspaces.js.
 */
export async function configSchemas(root, members) {
  const packages = await findPackages(root, members);
  const leading = leadingTo(packages, ({ schema }) => schema !== undefined);
  const own = new Set(
    members.map(({ dir }) => join(root, dir, 'package.json'))
  );

  const replacements = {};
  for (const [path, { manifest, schema, dependencies }] of packages) {
    const { configSchema, ...written } = manifest;
    if (schema) {
      written.configSchema = schema;
    }
    const kept = new Set(
      [...dependencies.keys()].filter(name =>
        leading.has(dependencies.get(name))
      )
    );
    // Without a schema it takes a dependency on Backstage to be looked into.
    const seen = schema || [...kept].some(isBackstage) || kept.size === 0;
    if (!own.has(path) && seen) {
      for (const field of DEPENDENCIES) {
        if (written[field]) {
          written[field] = Object.fromEntries(
            Object.entries(written[field]).filter(([name]) => kept.has(name))
          );
        }
      }
    }
    replacements[relative(root, path)] = json(written);
  }
  return { files: [], replacements };
}

async function findPackages(root, members) {
  const packages = new Map();
  const queue = members.map(({ dir }) => join(root, dir, 'package.json'));
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (packages.has(path)) {
      continue;
    }
    const manifest = JSON.parse(await readFile(path, 'utf8'));
    const names = DEPENDENCIES.flatMap(field =>
      Object.keys(manifest[field] ?? {})
    );
    if (!manifest.configSchema && !names.some(isBackstage)) {
      continue;
    }
    const schema = await schemaOf(root, path, manifest);
    const dependencies = new Map();
    const require = createRequire(path);
    for (const name of names) {
      const dependency = resolveManifest(require, name);
      if (dependency) {
        dependencies.set(name, realpathSync(dependency));
      }
    }
    packages.set(path, { manifest, schema, dependencies });
    queue.push(...dependencies.values());
  }
  return packages;
}

/** The packages for which `test` holds, and those that depend on them. */
function leadingTo(packages, test) {
  const leading = new Set();
  for (let size = -1; size !== leading.size; ) {
    size = leading.size;
    for (const [path, entry] of packages) {
      const dependencies = [...entry.dependencies.values()];
      if (test(entry) || dependencies.some(name => leading.has(name))) {
        leading.add(path);
      }
    }
  }
  return leading;
}

function isBackstage(name) {
  return name.startsWith('@backstage/');
}

/** What marks secrets in the schema of a package, if anything does. */
async function schemaOf(root, path, { configSchema }) {
  let schema = configSchema;
  if (typeof configSchema === 'string') {
    schema = configSchema.endsWith('.d.ts')
      ? await compile(root, path)
      : JSON.parse(await readFile(join(dirname(path), configSchema), 'utf8'));
  }
  const pruned = pruneToSecrets(schema ?? {});
  return Object.keys(pruned).length > 0 ? pruned : undefined;
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
