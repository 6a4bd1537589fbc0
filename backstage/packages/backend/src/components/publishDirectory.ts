import { resolveSafeChildPath } from '@backstage/backend-plugin-api';
import { InputError, isError } from '@backstage/errors';
import { createTemplateAction } from '@backstage/plugin-scaffolder-node';
import { cp, mkdir } from 'node:fs/promises';

const NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** Creates the action that keeps a scaffolded component below `directory`. */
export function createPublishDirectoryAction(directory: string) {
  return createTemplateAction({
    id: 'publish:directory',
    description:
      'Publishes the workspace into a directory of the machine Backstage runs on.',
    supportsDryRun: true,
    schema: {
      input: {
        name: z =>
          z.string({ description: 'Name of the directory to publish into' }),
      },
      output: {
        path: z => z.string({ description: 'Where the component now is' }),
      },
    },
    async handler(ctx) {
      const { name } = ctx.input;
      if (!NAME.test(name)) {
        throw new InputError(
          `'${name}' cannot name a directory: use lower case letters, digits and dashes, at most 63`,
        );
      }
      const path = resolveSafeChildPath(directory, name);
      ctx.output('path', path);
      if (ctx.isDryRun) {
        ctx.logger.info(`Would publish to ${path}`);
        return;
      }

      await mkdir(directory, { recursive: true });
      try {
        // Not recursive: an existing component is never overwritten.
        await mkdir(path);
      } catch (error) {
        if (isError(error) && error.code === 'EEXIST') {
          throw new InputError(`a component named '${name}' is already there`);
        }
        throw error;
      }
      await cp(ctx.workspacePath, path, { recursive: true });
      ctx.logger.info(`Published to ${path}`);
    },
  });
}
