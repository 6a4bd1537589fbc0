import {
  mockCredentials,
  mockServices,
  startTestBackend,
} from '@backstage/backend-test-utils';
import { type Entity, stringifyEntityRef } from '@backstage/catalog-model';
import { ConfigSources } from '@backstage/config-loader';
import catalogPlugin from '@backstage/plugin-catalog-backend';
import scaffolderEntityModel from '@backstage/plugin-catalog-backend-module-scaffolder-entity-model';
import { type JsonObject } from '@backstage/types';
import { resolve } from 'node:path';

const ROOT = resolve(__dirname, '../../..');

describe('the catalog of the image', () => {
  const cwd = process.cwd();

  // Locations are relative to the working directory, /app in the image.
  beforeAll(() => process.chdir(ROOT));
  afterAll(() => process.chdir(cwd));

  it('describes this system', async () => {
    const config = await ConfigSources.toConfig(
      ConfigSources.default({
        argv: ['app-config.yaml', 'app-config.production.yaml'].flatMap(
          file => ['--config', resolve(ROOT, file)],
        ),
        watch: false,
      }),
    );
    const catalog = config.get<JsonObject>('catalog');
    config.close();

    const backend = await startTestBackend({
      features: [
        mockServices.rootConfig.factory({
          data: { catalog },
        }),
        catalogPlugin,
        scaffolderEntityModel,
      ],
    });

    const list = async () => {
      const response = await fetch(
        `http://localhost:${backend.server.port()}/api/catalog/entities`,
        { headers: { authorization: mockCredentials.user.header() } },
      );
      const entities: Entity[] = await response.json();
      return entities
        .filter(({ kind }) => kind !== 'Location')
        .map(entity => stringifyEntityRef(entity))
        .sort();
    };

    const expected = [
      'api:default/backstage-api',
      'api:default/release-functions',
      'component:default/backstage-backend',
      'component:default/backstage-chart',
      'component:default/backstage-frontend',
      'component:default/release-toolchain',
      'group:default/platform',
      'system:default/backstage-gitops',
      'template:default/component',
      'user:development/guest',
    ];
    const deadline = Date.now() + 20_000;
    let found = await list();
    while (found.length < expected.length && Date.now() < deadline) {
      await new Promise(done => setTimeout(done, 200));
      found = await list();
    }

    await backend.stop();

    expect(found).toEqual(expected);
  }, 40_000);
});
