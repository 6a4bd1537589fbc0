import { createBackend } from '@backstage/backend-defaults';
import {
  coreServices,
  createBackendFeatureLoader,
} from '@backstage/backend-plugin-api';
import { httpRouterServiceFactory } from '../observability/services';
import { discoveryServiceFactory } from './discovery';

/** PostgreSQL's own search engine, where that is the database. */
const postgresSearch = createBackendFeatureLoader({
  deps: { config: coreServices.rootConfig },
  *loader({ config }) {
    if (config.getOptionalString('backend.database.client') === 'pg') {
      yield import('@backstage/plugin-search-backend-module-pg');
    }
  },
});

/** Creates the API: every plugin but the one that serves the app. */
export function createApi() {
  const backend = createBackend();
  backend.add(discoveryServiceFactory);
  backend.add(httpRouterServiceFactory);

  backend.add(import('@backstage/plugin-proxy-backend'));

  backend.add(import('@backstage/plugin-auth-backend'));
  backend.add(import('@backstage/plugin-auth-backend-module-guest-provider'));
  backend.add(import('@backstage/plugin-auth-backend-module-github-provider'));

  backend.add(import('@backstage/plugin-permission-backend'));
  backend.add(
    import('@backstage/plugin-permission-backend-module-allow-all-policy'),
  );

  backend.add(import('@backstage/plugin-catalog-backend'));
  backend.add(
    import('@backstage/plugin-catalog-backend-module-scaffolder-entity-model'),
  );
  backend.add(import('@backstage/plugin-catalog-backend-module-logs'));

  backend.add(import('@backstage/plugin-scaffolder-backend'));
  backend.add(import('@backstage/plugin-scaffolder-backend-module-github'));
  backend.add(import('../components'));

  backend.add(import('@backstage/plugin-techdocs-backend'));

  backend.add(import('@backstage/plugin-search-backend'));
  backend.add(postgresSearch);
  backend.add(import('@backstage/plugin-search-backend-module-catalog'));
  backend.add(import('@backstage/plugin-search-backend-module-techdocs'));

  backend.add(import('@backstage/plugin-kubernetes-backend'));

  return backend;
}
