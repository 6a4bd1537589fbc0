import {
  coreServices,
  createBackendFeatureLoader,
  createBackendModule,
} from '@backstage/backend-plugin-api';
import { catalogProcessingExtensionPoint } from '@backstage/plugin-catalog-node';
import { scaffolderActionsExtensionPoint } from '@backstage/plugin-scaffolder-node';
import { createPublishDirectoryAction } from './publishDirectory';
import { DirectoryEntityProvider } from './DirectoryEntityProvider';

const DIRECTORY_KEY = 'scaffolder.publishDirectory';
const SCAN = { frequency: { seconds: 10 }, timeout: { seconds: 30 } };

/**
 * Lets templates publish into a directory of this machine and lists what is in
 * it in the catalog, so that a portal without a Git host can be tried end to
 * end. Does nothing unless `scaffolder.publishDirectory` is configured.
 *
 * Does nothing with PostgreSQL either. Instances share that database but not
 * their disks: each would take out of the catalog what the others published,
 * and so would the next start of one instance with a fresh disk.
 */
export const componentsFeature = createBackendFeatureLoader({
  deps: {
    config: coreServices.rootConfig,
    rootLogger: coreServices.rootLogger,
  },
  *loader({ config, rootLogger }) {
    const directory = config.getOptionalString(DIRECTORY_KEY);
    if (directory === undefined) {
      return;
    }
    if (config.getOptionalString('backend.database.client') === 'pg') {
      rootLogger.info(
        `${DIRECTORY_KEY} is not used: the database is PostgreSQL and the directory is of this instance only. Publish to a Git host instead.`,
      );
      return;
    }

    yield createBackendModule({
      pluginId: 'scaffolder',
      moduleId: 'publish-directory',
      register({ registerInit }) {
        registerInit({
          deps: { actions: scaffolderActionsExtensionPoint },
          async init({ actions }) {
            actions.addActions(createPublishDirectoryAction(directory));
          },
        });
      },
    });

    yield createBackendModule({
      pluginId: 'catalog',
      moduleId: 'published-directory',
      register({ registerInit }) {
        registerInit({
          deps: {
            catalog: catalogProcessingExtensionPoint,
            logger: coreServices.logger,
            scheduler: coreServices.scheduler,
          },
          async init({ catalog, logger, scheduler }) {
            catalog.addEntityProvider(
              new DirectoryEntityProvider({
                directory,
                logger,
                // Each instance lists its own disk.
                runner: scheduler.createScheduledTaskRunner({
                  ...SCAN,
                  scope: 'local',
                }),
              }),
            );
          },
        });
      },
    });
  },
});
