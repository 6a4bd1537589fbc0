import { HostDiscovery } from '@backstage/backend-defaults/discovery';
import {
  coreServices,
  createServiceFactory,
} from '@backstage/backend-plugin-api';

/**
 * The default discovery, but one for all plugins: it warns of a questionable
 * `backend.baseUrl` once instead of once per plugin.
 */
export const discoveryServiceFactory = createServiceFactory({
  service: coreServices.discovery,
  deps: {
    config: coreServices.rootConfig,
    logger: coreServices.rootLogger,
  },
  createRootContext: ({ config, logger }) =>
    HostDiscovery.fromConfig(config, { logger }),
  factory: (_deps, discovery) => discovery,
});
