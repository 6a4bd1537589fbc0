import { createConfigSecretEnumerator } from '@backstage/backend-defaults/rootConfig';
import { rootHttpRouterServiceFactory } from '@backstage/backend-defaults/rootHttpRouter';
import {
  coreServices,
  createServiceFactory,
} from '@backstage/backend-plugin-api';
import { createLogger, levelOverrides } from './logger';
import { identifyRequest } from './requestId';

/** The default router, whose requests have an id. */
export const httpRouterServiceFactory = rootHttpRouterServiceFactory({
  configure({ app, applyDefaults }) {
    app.use(identifyRequest);
    applyDefaults();
  },
});

/** The default root logger, whose lines have the id of the request. */
export const loggerServiceFactory = createServiceFactory({
  service: coreServices.rootLogger,
  deps: { config: coreServices.rootConfig },
  async factory({ config }) {
    const logger = createLogger(config);
    const secrets = await createConfigSecretEnumerator({ logger });
    const apply = () => {
      logger.addRedactions(secrets(config));
      logger.setLevelOverrides(levelOverrides(config));
    };
    apply();
    config.subscribe?.(apply);
    return logger;
  },
});
