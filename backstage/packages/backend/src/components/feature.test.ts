import { createBackendPlugin } from '@backstage/backend-plugin-api';
import { mockServices, startTestBackend } from '@backstage/backend-test-utils';
import {
  catalogProcessingExtensionPoint,
  type EntityProvider,
} from '@backstage/plugin-catalog-node';
import {
  scaffolderActionsExtensionPoint,
  type TemplateAction,
} from '@backstage/plugin-scaffolder-node';
import { componentsFeature } from './feature';

const directory = { scaffolder: { publishDirectory: '/tmp/published' } };
const database = (client: string) => ({ backend: { database: { client } } });

/** Starts the feature beside the two extension points that it extends. */
async function start(data: object) {
  const providers: string[] = [];
  const actions: string[] = [];
  const catalog = createBackendPlugin({
    pluginId: 'catalog',
    register(env) {
      env.registerExtensionPoint(catalogProcessingExtensionPoint, {
        addEntityProvider: (provider: EntityProvider) =>
          providers.push(provider.getProviderName()),
      } as never);
      env.registerInit({ deps: {}, async init() {} });
    },
  });
  const scaffolder = createBackendPlugin({
    pluginId: 'scaffolder',
    register(env) {
      env.registerExtensionPoint(scaffolderActionsExtensionPoint, {
        addActions: (...added: TemplateAction[]) =>
          actions.push(...added.map(({ id }) => id)),
      } as never);
      env.registerInit({ deps: {}, async init() {} });
    },
  });
  const rootLogger = mockServices.rootLogger.mock();
  rootLogger.child.mockReturnValue(rootLogger);
  const backend = await startTestBackend({
    features: [
      mockServices.rootConfig.factory({ data: data as never }),
      rootLogger.factory,
      catalog,
      scaffolder,
      componentsFeature,
    ],
  });
  await backend.stop();
  return { providers, actions, rootLogger };
}

describe('componentsFeature', () => {
  it('publishes to the directory and lists it', async () => {
    const { providers, actions } = await start({
      ...directory,
      ...database('better-sqlite3'),
    });

    expect(actions).toEqual(['publish:directory']);
    expect(providers).toEqual(['published-directory']);
  });

  it('does nothing without a directory', async () => {
    const { providers, actions } = await start(database('better-sqlite3'));

    expect([...providers, ...actions]).toEqual([]);
  });

  // Each instance would delete what the others have published.
  it('does nothing where instances share the database, and says so', async () => {
    const { providers, actions, rootLogger } = await start({
      ...directory,
      ...database('pg'),
    });

    expect([...providers, ...actions]).toEqual([]);
    expect(rootLogger.info).toHaveBeenCalledWith(
      expect.stringContaining('scaffolder.publishDirectory is not used'),
    );
  });
});
