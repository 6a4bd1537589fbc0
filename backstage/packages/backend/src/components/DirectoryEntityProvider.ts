import {
  LoggerService,
  SchedulerServiceTaskRunner,
} from '@backstage/backend-plugin-api';
import {
  ANNOTATION_LOCATION,
  ANNOTATION_ORIGIN_LOCATION,
  Entity,
} from '@backstage/catalog-model';
import { isError } from '@backstage/errors';
import {
  DeferredEntity,
  EntityProvider,
  EntityProviderConnection,
  parseEntityYaml,
} from '@backstage/plugin-catalog-node';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const DESCRIPTOR = 'catalog-info.yaml';

/** Lists the `catalog-info.yaml` of every folder of a directory. */
export class DirectoryEntityProvider implements EntityProvider {
  readonly #directory: string;
  readonly #logger: LoggerService;
  readonly #runner: SchedulerServiceTaskRunner;
  #applied: string | undefined;

  constructor(options: {
    directory: string;
    logger: LoggerService;
    runner: SchedulerServiceTaskRunner;
  }) {
    this.#directory = options.directory;
    this.#logger = options.logger;
    this.#runner = options.runner;
  }

  getProviderName(): string {
    return 'published-directory';
  }

  async connect(connection: EntityProviderConnection): Promise<void> {
    await this.#runner.run({
      id: this.getProviderName(),
      fn: async () => this.#refresh(connection),
    });
  }

  async #refresh(connection: EntityProviderConnection): Promise<void> {
    const entities = await this.#read();
    const state = JSON.stringify(entities);
    if (state === this.#applied) {
      return;
    }
    await connection.applyMutation({ type: 'full', entities });
    this.#applied = state;
  }

  async #read(): Promise<DeferredEntity[]> {
    const entities: DeferredEntity[] = [];
    for (const folder of await this.#folders()) {
      const file = join(this.#directory, folder, DESCRIPTOR);
      const content = await readFile(file).catch(ignoreMissing);
      if (content === undefined) {
        continue;
      }
      const location = { type: 'file', target: file };
      for (const result of parseEntityYaml(content, location)) {
        if (result.type === 'entity') {
          entities.push({
            entity: withLocation(result.entity, `file:${file}`),
            locationKey: `file:${file}`,
          });
        } else if (result.type === 'error') {
          this.#logger.warn(`Skipping ${file}: ${result.error.message}`);
        }
      }
    }
    return entities;
  }

  async #folders(): Promise<string[]> {
    const entries =
      (await readdir(this.#directory, { withFileTypes: true }).catch(
        ignoreMissing,
      )) ?? [];
    return entries
      .filter(entry => entry.isDirectory())
      .map(entry => entry.name)
      .sort();
  }
}

function withLocation(entity: Entity, location: string): Entity {
  return {
    ...entity,
    metadata: {
      ...entity.metadata,
      annotations: {
        ...entity.metadata.annotations,
        [ANNOTATION_LOCATION]: location,
        [ANNOTATION_ORIGIN_LOCATION]: location,
      },
    },
  };
}

function ignoreMissing(error: unknown): undefined {
  if (isError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
    return undefined;
  }
  throw error;
}
