import {
  chmod,
  copyFile,
  lstat,
  lutimes,
  mkdir,
  readdir,
  realpath,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { filesBelow } from './files.js';

// Never read by a running backend, whatever package they come from.
const UNWANTED = [
  /\.map$/,
  /\.(d\.)?[cm]?tsx?$/,
  /\.(h|hpp|c|cc|cpp|gyp|gypi|o|a|mk)$/,
  /(^|\/)(__tests__|__mocks__|__fixtures__|__testUtils__)\//,
  /\.(test|spec)\.[cm]?jsx?$/,
  /(^|\/)(README|CHANGELOG|HISTORY|CONTRIBUTING)(\.[a-z]+)?$/i,
];

/** The files of the slim tree, gathered first and then written in one order. */
export class Tree {
  #root;
  #files = new Set();
  #replacements = new Map();
  #links = new Map();

  constructor(root) {
    this.#root = root;
  }

  /** Adds files by their path relative to the root. */
  add(files) {
    for (const file of files) {
      if (!UNWANTED.some(pattern => pattern.test(file))) {
        this.#files.add(file);
      }
    }
  }

  /** Adds a file, or all files of a folder, wanted or not. */
  async addPath(path) {
    const stat = await lstat(join(this.#root, path));
    const files = stat.isDirectory()
      ? await filesBelow(this.#root, path)
      : [path];
    files.forEach(file => this.#files.add(file));
  }

  /** Gives files another content than they have in the workspace. */
  replace(replacements) {
    for (const [file, content] of Object.entries(replacements)) {
      this.#replacements.set(file, content);
    }
  }

  /** Adds a symbolic link to a folder of the tree. */
  link(path, target) {
    this.#links.set(path, target);
  }

  /**
   * Writes everything to `out` with plain modes and times of the epoch, so
   * that equal content is an equal tree.
   */
  async write(out) {
    let bytes = 0;
    const files = [...this.#files].filter(f => !this.#replacements.has(f));
    for (const file of files.sort()) {
      const from = join(this.#root, file);
      const stat = await lstat(from);
      if (stat.isSymbolicLink()) {
        this.#links.set(
          file,
          relative(await realpath(this.#root), await realpath(from))
        );
        continue;
      }
      if (!stat.isFile()) {
        continue;
      }
      const to = join(out, file);
      await mkdir(dirname(to), { recursive: true });
      await copyFile(from, to);
      await chmod(to, stat.mode & 0o100 ? 0o755 : 0o644);
      bytes += stat.size;
    }
    for (const [file, content] of this.#replacements) {
      const to = join(out, file);
      await mkdir(dirname(to), { recursive: true });
      await writeFile(to, content, { mode: 0o644 });
      bytes += Buffer.byteLength(content);
    }
    for (const [path, target] of this.#links) {
      const to = join(out, path);
      await mkdir(dirname(to), { recursive: true });
      await symlink(relative(dirname(path), target), to);
    }
    await resetTimes(out);
    return {
      files: files.length + this.#replacements.size,
      links: this.#links.size,
      bytes,
    };
  }
}

async function resetTimes(dir) {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      await resetTimes(path);
    } else {
      await lutimes(path, 0, 0);
    }
  }
  await chmod(dir, 0o755);
  await lutimes(dir, 0, 0);
}
