import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filesBelow } from './files.js';

// Folders whose files are found by name while the backend runs
// (resolvePackagePath), never imported.
const DATA_FOLDERS = ['migrations', 'assets'];

/**
 * Lists what the traced packages load by name: their package.json, and the
 * migrations and assets of those that are Backstage packages.
 */
export async function packageData(root, traced) {
  const files = [];
  for (const dir of packageDirs(traced)) {
    const manifest = `${dir}/package.json`;
    const text = await readFile(join(root, manifest), 'utf8').catch(() => '');
    if (text === '') {
      continue;
    }
    files.push(manifest);
    if (!JSON.parse(text).backstage) {
      continue;
    }
    for (const folder of DATA_FOLDERS) {
      files.push(...(await filesBelow(root, `${dir}/${folder}`)));
      files.push(...(await filesBelow(root, `${dir}/dist/${folder}`)));
    }
  }
  return files;
}

/** The package folders that hold the given files, sorted. */
export function packageDirs(files) {
  const dirs = new Set();
  for (const file of files) {
    const match = /^(.*\bnode_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file);
    if (match) {
      dirs.add(match[1]);
    }
  }
  return [...dirs].sort();
}
