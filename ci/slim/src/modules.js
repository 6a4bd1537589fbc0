import { nodeFileTrace } from '@vercel/nft';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

// Packages that only compile configuration schemas written in TypeScript. The
// slim tree has them as JSON (see schemas.js), so they are never loaded.
const COMPILERS = ['typescript', 'ts-json-schema-generator'];

/** Lists the files that `entry` can load, relative to `root`. */
export async function traceModules(root, entry) {
  const { fileList, warnings } = await nodeFileTrace([join(root, entry)], {
    base: root,
    processCwd: root,
    ignore: path =>
      COMPILERS.some(name => path.includes(`node_modules/${name}/`)),
  });
  for (const warning of warnings) {
    // nft warns of every optional dependency that is not installed.
    if (!/Failed to resolve dependency/.test(warning.message)) {
      process.stderr.write(`trace: ${warning.message}\n`);
    }
  }
  return [...fileList].filter(
    path => !path.startsWith('..') && existsSync(join(root, path))
  );
}
