import {
  coreServices,
  createBackendPlugin,
  type LoggerService,
} from '@backstage/backend-plugin-api';
import { mockServices, startTestBackend } from '@backstage/backend-test-utils';
import { shareRootLogger } from './rootLogger';

describe('shareRootLogger', () => {
  it('gives the logger of one backend to the plugins of another', async () => {
    const { source, target } = shareRootLogger();
    const rootLogger = mockServices.rootLogger.mock();
    const child = mockServices.logger.mock();
    rootLogger.child.mockReturnValue(child);
    child.child.mockReturnValue(child);

    let received: LoggerService | undefined;
    const plugin = createBackendPlugin({
      pluginId: 'borrower',
      register({ registerInit }) {
        registerInit({
          deps: { logger: coreServices.logger },
          async init({ logger }) {
            received = logger;
          },
        });
      },
    });

    const borrowing = startTestBackend({ features: [target, plugin] });
    const owning = startTestBackend({ features: [source, rootLogger.factory] });
    const backends = await Promise.all([borrowing, owning]);

    received?.info('hello');
    expect(child.info).toHaveBeenCalledWith('hello');
    await Promise.all(backends.map(backend => backend.stop()));
  });
});
