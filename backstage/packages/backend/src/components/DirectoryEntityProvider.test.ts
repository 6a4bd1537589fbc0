import {
  createMockDirectory,
  mockServices,
} from '@backstage/backend-test-utils';
import { type EntityProviderConnection } from '@backstage/plugin-catalog-node';
import { DirectoryEntityProvider } from './DirectoryEntityProvider';

const component = (name: string) => `
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: ${name}
spec:
  type: service
  lifecycle: experimental
  owner: platform
`;

describe('DirectoryEntityProvider', () => {
  const directory = createMockDirectory();

  async function connect() {
    const logger = mockServices.logger.mock();
    const connection = {
      applyMutation: jest.fn(),
      refresh: jest.fn(),
    } satisfies EntityProviderConnection;
    let scan = async () => {};
    const provider = new DirectoryEntityProvider({
      directory: directory.resolve('published'),
      logger,
      runner: {
        run: async ({ fn }) => {
          scan = async () => fn(new AbortController().signal);
        },
      },
    });
    await provider.connect(connection);
    return { logger, connection, scan: () => scan() };
  }

  function names(connection: { applyMutation: jest.Mock }) {
    const [mutation] = connection.applyMutation.mock.lastCall;
    return mutation.entities.map(
      ({ entity }: { entity: { metadata: { name: string } } }) =>
        entity.metadata.name,
    );
  }

  afterEach(() => directory.clear());

  it('lists nothing where there is no directory', async () => {
    const { connection, scan } = await connect();
    await scan();

    expect(names(connection)).toEqual([]);
  });

  it('lists components with their location', async () => {
    directory.setContent({
      published: {
        shop: { 'catalog-info.yaml': component('shop') },
        blog: { 'catalog-info.yaml': component('blog') },
        'no-descriptor': { 'README.md': '' },
        file: 'not a folder',
      },
    });
    const { connection, scan } = await connect();
    await scan();

    expect(names(connection)).toEqual(['blog', 'shop']);
    const location = `file:${directory.resolve(
      'published/shop/catalog-info.yaml',
    )}`;
    expect(connection.applyMutation.mock.lastCall[0].entities[1]).toMatchObject(
      {
        locationKey: location,
        entity: {
          metadata: {
            annotations: {
              'backstage.io/managed-by-location': location,
              'backstage.io/managed-by-origin-location': location,
            },
          },
        },
      },
    );
  });

  it('tells the catalog of changes only', async () => {
    directory.setContent({
      published: { shop: { 'catalog-info.yaml': component('shop') } },
    });
    const { connection, scan } = await connect();
    await scan();
    await scan();
    expect(connection.applyMutation).toHaveBeenCalledTimes(1);

    directory.addContent({
      published: { blog: { 'catalog-info.yaml': component('blog') } },
    });
    await scan();
    expect(connection.applyMutation).toHaveBeenCalledTimes(2);
    expect(names(connection)).toEqual(['blog', 'shop']);
  });

  it('skips what does not parse', async () => {
    directory.setContent({
      published: {
        bad: { 'catalog-info.yaml': 'kind: [' },
        shop: { 'catalog-info.yaml': component('shop') },
      },
    });
    const { connection, logger, scan } = await connect();
    await scan();

    expect(names(connection)).toEqual(['shop']);
    expect(logger.warn).toHaveBeenCalledWith(
      expect.stringContaining('bad/catalog-info.yaml'),
    );
  });
});
