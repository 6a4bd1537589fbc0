import { parseArgs } from 'node:util';

/** What one process serves: the API, the app, or both. */
export type Role = 'backend' | 'frontend' | 'both';

/**
 * Reads the role from the arguments that follow the entry file.
 *
 * In development the default is the API alone, because there the bundler's own
 * server serves the app.
 */
export function parseRole(
  args: string[],
  env: string | undefined = process.env.NODE_ENV,
): Role {
  const { positionals } = parseArgs({
    args,
    options: { config: { type: 'string', multiple: true } },
    strict: false,
    allowPositionals: true,
  });
  const [role, ...rest] = positionals;
  if (rest.length > 0) {
    throw new Error(
      `expected at most one role, got '${[role, ...rest].join(' ')}'`,
    );
  }
  if (role === undefined) {
    return env === 'development' ? 'backend' : 'both';
  }
  if (role === 'backend' || role === 'frontend') {
    return role;
  }
  throw new Error(
    `unknown role '${role}': say 'backend', 'frontend', or nothing for both`,
  );
}
