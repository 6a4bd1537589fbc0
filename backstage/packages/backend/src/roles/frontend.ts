import { createBackend } from '@backstage/backend-defaults';
import {
  coreServices,
  createServiceFactory,
} from '@backstage/backend-plugin-api';
import { type Config } from '@backstage/config';
import { ConfigSources, StaticConfigSource } from '@backstage/config-loader';
import { type JsonObject } from '@backstage/types';
import { httpRouterServiceFactory } from '../observability/services';
import { discoveryServiceFactory } from './discovery';

const DEFAULT_PORT = 8000;

/**
 * Creates the server of the app: app-backend alone, on `app.listen`.
 *
 * Config is injected into the served page; the browser then talks to
 * `backend.baseUrl`.
 */
export async function createFrontend(argv: string[] = process.argv) {
  const configured = await ConfigSources.toConfig(
    ConfigSources.default({ argv, watch: false }),
  );
  const overrides = frontendOverrides(configured);
  configured.close();

  const backend = createBackend();
  backend.add(discoveryServiceFactory);
  backend.add(httpRouterServiceFactory);
  backend.add(
    createServiceFactory({
      service: coreServices.rootConfig,
      deps: {},
      async factory() {
        return ConfigSources.toConfig(
          ConfigSources.merge([
            ConfigSources.default({ argv }),
            StaticConfigSource.create({
              data: overrides,
              context: 'frontend-role',
            }),
          ]),
        );
      },
    }),
  );
  backend.add(import('@backstage/plugin-app-backend'));
  return backend;
}

/** What differs from the API's configuration when serving the app. */
export function frontendOverrides(config: Config): JsonObject {
  const port = config.getOptionalNumber('app.listen.port') ?? DEFAULT_PORT;
  const host = config.getOptionalString('app.listen.host');
  return {
    app: {
      // The database below lives in memory, so there is nothing to fall back to.
      disableStaticFallbackCache: true,
    },
    backend: {
      listen: host === undefined ? { port } : { port, host },
      // Serving the app needs no data: this role gets no database credentials.
      // SQLite refuses the schema per plugin that PostgreSQL may be set to.
      database: {
        client: 'better-sqlite3',
        connection: ':memory:',
        pluginDivisionMode: 'database',
      },
    },
  };
}
