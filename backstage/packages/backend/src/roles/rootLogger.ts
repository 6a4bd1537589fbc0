import {
  coreServices,
  createServiceFactory,
  createServiceRef,
  type RootLoggerService,
} from '@backstage/backend-plugin-api';

/**
 * Passes the root logger of one backend on to another in the same process.
 *
 * A root logger knows every secret of the configuration, and learning them
 * compiles the schemas of all packages: the slowest step of a start, and
 * needed once.
 */
export function shareRootLogger() {
  let publish: (logger: RootLoggerService) => void;
  const logger = new Promise<RootLoggerService>(resolve => {
    publish = resolve;
  });

  return {
    /** For the backend that has the logger. */
    source: createServiceFactory({
      service: createServiceRef<void>({
        id: 'backstage-gitops.root-logger-source',
        scope: 'root',
      }),
      initialization: 'always',
      deps: { rootLogger: coreServices.rootLogger },
      async factory({ rootLogger }) {
        publish(rootLogger);
      },
    }),
    /** For the backend that borrows it. */
    target: createServiceFactory({
      service: coreServices.rootLogger,
      deps: {},
      factory: () => logger,
    }),
  };
}
