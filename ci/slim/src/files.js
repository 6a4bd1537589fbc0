import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Lists the regular files below `dir`, relative to `root`; none if absent. */
export async function filesBelow(root, dir) {
  const entries = await readdir(join(root, dir), {
    withFileTypes: true,
    recursive: true,
  }).catch(error => {
    if (error.code === 'ENOENT') {
      return [];
    }
    throw error;
  });
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1));
}
