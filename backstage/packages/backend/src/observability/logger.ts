import {
  WinstonLogger,
  type WinstonLoggerLevelOverride,
  type WinstonLoggerOptions,
} from '@backstage/backend-defaults/rootLogger';
import { type Config } from '@backstage/config';
import { type JsonObject } from '@backstage/types';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { config as winston, format, transports } from 'winston';
import { requestId } from './requestId';

/** What a line says of the request it was written for, and of its trace. */
const correlated = format(info => {
  const id = requestId();
  if (id !== undefined) {
    info.requestId = id;
  }
  const span = trace.getActiveSpan()?.spanContext();
  if (span && isSpanContextValid(span)) {
    info.trace_id = span.traceId;
    info.span_id = span.spanId;
  }
  return info;
});

/** Creates Backstage's own logger, with the ids of requests in its lines. */
export function createLogger(
  config: Config,
  to: WinstonLoggerOptions['transports'] = [new transports.Console()],
) {
  return WinstonLogger.create({
    meta: {
      service: 'backstage',
      ...config.getOptional<JsonObject>('backend.logger.meta'),
    },
    level:
      process.env.LOG_LEVEL ||
      config.getOptionalString('backend.logger.level') ||
      'info',
    format: format.combine(
      correlated(),
      process.env.NODE_ENV === 'production'
        ? format.json()
        : WinstonLogger.colorFormat(),
    ),
    transports: to,
  });
}

/** Reads `backend.logger.overrides`, the levels of single loggers. */
export function levelOverrides(config: Config): WinstonLoggerLevelOverride[] {
  const known = Object.keys(winston.npm.levels);
  return (config.getOptionalConfigArray('backend.logger.overrides') ?? []).map(
    (override, i) => {
      const level = override.getString('level');
      if (!known.includes(level)) {
        throw new Error(
          `backend.logger.overrides[${i}].level is '${level}': say one of ${known.join(
            ', ',
          )}`,
        );
      }
      return { level, matchers: override.getConfig('matchers').get() };
    },
  );
}
