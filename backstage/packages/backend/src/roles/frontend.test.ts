import { ConfigReader } from '@backstage/config';
import { frontendOverrides } from './frontend';

describe('frontendOverrides', () => {
  it.each([
    { name: 'no address', app: {}, listen: { port: 8000 } },
    {
      name: 'a port',
      app: { listen: { port: 9000 } },
      listen: { port: 9000 },
    },
    {
      name: 'a host',
      app: { listen: { host: '127.0.0.1' } },
      listen: { port: 8000, host: '127.0.0.1' },
    },
  ])('listens where the app does, given $name', ({ app, listen }) => {
    expect(frontendOverrides(new ConfigReader({ app }))).toMatchObject({
      backend: { listen },
    });
  });

  it('keeps away from the database', () => {
    const config = new ConfigReader({
      backend: {
        database: {
          client: 'pg',
          connection: { password: 'p' },
          pluginDivisionMode: 'schema',
        },
      },
    });

    expect(frontendOverrides(config)).toMatchObject({
      app: { disableStaticFallbackCache: true },
      backend: {
        database: {
          client: 'better-sqlite3',
          connection: ':memory:',
          pluginDivisionMode: 'database',
        },
      },
    });
  });
});
