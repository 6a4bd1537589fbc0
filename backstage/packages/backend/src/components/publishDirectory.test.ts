import {
  createMockDirectory,
  mockCredentials,
  mockServices,
} from '@backstage/backend-test-utils';
import { type ActionContext } from '@backstage/plugin-scaffolder-node';
import { createPublishDirectoryAction } from './publishDirectory';

describe('publish:directory', () => {
  const directory = createMockDirectory();

  function run(input: { name: string }, isDryRun = false) {
    const output = jest.fn();
    const context = {
      input,
      output,
      isDryRun,
      workspacePath: directory.resolve('workspace'),
      logger: mockServices.logger.mock(),
      getInitiatorCredentials: async () => mockCredentials.user(),
    } as unknown as ActionContext<{ name: string }, { path: string }, 'v2'>;
    const action = createPublishDirectoryAction(directory.resolve('published'));
    return { output, done: action.handler(context) };
  }

  beforeEach(() => {
    directory.setContent({
      workspace: {
        'catalog-info.yaml': 'kind: Component',
        src: { 'a.txt': 'A' },
      },
    });
  });

  it('copies the workspace and tells where', async () => {
    const { output, done } = run({ name: 'shop' });
    await done;

    expect(directory.content({ path: 'published' })).toEqual({
      shop: { 'catalog-info.yaml': 'kind: Component', src: { 'a.txt': 'A' } },
    });
    expect(output).toHaveBeenCalledWith(
      'path',
      directory.resolve('published/shop'),
    );
  });

  it('writes nothing in a dry run', async () => {
    await run({ name: 'shop' }, true).done;

    expect(directory.content()).not.toHaveProperty('published');
  });

  it('keeps a component that is already there', async () => {
    await run({ name: 'shop' }).done;
    directory.addContent({ workspace: { src: { 'a.txt': 'B' } } });

    await expect(run({ name: 'shop' }).done).rejects.toThrow(
      "a component named 'shop' is already there",
    );
    expect(directory.content({ path: 'published/shop/src' })).toEqual({
      'a.txt': 'A',
    });
  });

  it.each(['', '.', '..', '../shop', 'a/b', 'Shop', '-shop', 'a'.repeat(64)])(
    "refuses the name '%s'",
    async name => {
      await expect(run({ name }).done).rejects.toThrow(
        'cannot name a directory',
      );
      expect(directory.content()).not.toHaveProperty('published');
    },
  );
});
