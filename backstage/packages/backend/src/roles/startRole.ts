import { type BackendFeature } from '@backstage/backend-plugin-api';
import { exportersOf } from '../observability/exporters';
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
  const telemetry = await startTelemetry();
  if (role === 'both') {
    const { source, target } = shareRootLogger();
    await Promise.all([
      startBackend(await ownLogger(), source, ...telemetry),
      startFrontend(target),
    ]);
  } else if (role === 'backend') {
    await startBackend(await ownLogger(), ...telemetry);
  } else {
    await startFrontend(await ownLogger(), ...telemetry);
  }
}

// Imported on demand: a frontend alone never loads the plugins of the API, and
// what nobody asks for does not slow down the start.

/** OpenTelemetry comes first: it changes modules as they are loaded. */
async function startTelemetry(): Promise<BackendFeature[]> {
  const exporters = exportersOf(process.env);
  if (!exporters) {
    return [];
  }
  const telemetry = exportsOf(await import('../observability/telemetry'));
  return [telemetry.startTelemetry(exporters)];
}

async function ownLogger(): Promise<BackendFeature> {
  return exportsOf(await import('../observability/services'))
    .loggerServiceFactory;
}

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
