import type { Role } from './parseRole';

/**
 * Starts what the role names and resolves once it is ready.
 *
 * Backends of one process share the signal handlers of
 * `@backstage/backend-app-api`: SIGTERM and SIGINT stop them all before the
 * process exits.
 */
export async function startRole(role: Role): Promise<void> {
  // Imported on demand: a frontend never loads the plugins of the API.
  const starting: Promise<unknown>[] = [];
  if (role !== 'backend') {
    starting.push(
      import('./frontend').then(async ({ createFrontend }) =>
        (await createFrontend()).start(),
      ),
    );
  }
  if (role !== 'frontend') {
    starting.push(
      import('./backend').then(({ createApi }) => createApi().start()),
    );
  }
  await Promise.all(starting);
}
