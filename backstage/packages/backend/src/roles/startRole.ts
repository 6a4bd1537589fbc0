import { type BackendFeature } from '@backstage/backend-plugin-api';
import { type Role } from './parseRole';
import { shareRootLogger } from './rootLogger';

/**
 * Starts what the role names and resolves once it is ready.
 *
 * Backends of one process share the signal handlers of
 * `@backstage/backend-app-api`: SIGTERM and SIGINT stop them all before the
 * process exits.
 */
export async function startRole(role: Role): Promise<void> {
  if (role === 'both') {
    const { source, target } = shareRootLogger();
    await Promise.all([startBackend(source), startFrontend(target)]);
  } else if (role === 'backend') {
    await startBackend();
  } else {
    await startFrontend();
  }
}

// Imported on demand: a frontend alone never loads the plugins of the API.

async function startBackend(...features: BackendFeature[]) {
  const { createApi } = exportsOf(await import('./backend'));
  const backend = createApi();
  features.forEach(feature => backend.add(feature));
  await backend.start();
}

async function startFrontend(...features: BackendFeature[]) {
  const { createFrontend } = exportsOf(await import('./frontend'));
  const frontend = await createFrontend();
  features.forEach(feature => frontend.add(feature));
  await frontend.start();
}

// In development import() is Node's own, and what it imports is CommonJS.
function exportsOf<T extends object>(imported: T | { default: T }): T {
  return 'default' in imported ? imported.default : imported;
}
