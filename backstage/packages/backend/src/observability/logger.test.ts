import { ConfigReader } from '@backstage/config';
import { type JsonObject } from '@backstage/types';
import { ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { transports } from 'winston';
import { createLogger, levelOverrides } from './logger';
import { identifyRequest } from './requestId';

const config = (logger: JsonObject = {}) =>
  new ConfigReader({ backend: { logger } });

describe('the logger', () => {
  const environment = process.env.NODE_ENV;
  beforeAll(() => {
    Object.assign(process.env, { NODE_ENV: 'production' });
  });
  afterAll(() => {
    Object.assign(process.env, { NODE_ENV: environment });
  });
  afterEach(() => jest.restoreAllMocks());

  /** Logs and returns the lines. */
  function lines(logger: JsonObject = {}) {
    const stream = new PassThrough();
    const created = createLogger(config(logger), [
      new transports.Stream({ stream }),
    ]);
    return {
      logger: created,
      read: () =>
        String(stream.read() ?? '')
          .split('\n')
          .filter(Boolean)
          .map(line => JSON.parse(line)),
    };
  }

  it('writes a JSON object per line, with the id of the request', () => {
    const { logger, read } = lines({ meta: { cluster: 'c' } });
    logger.info('before');
    const request = new IncomingMessage(new Socket());
    request.headers['x-request-id'] = 'the-id';
    identifyRequest(request, new ServerResponse(request), () =>
      logger.child({ plugin: 'catalog' }).warn('within\ntwo lines'),
    );

    const common = { service: 'backstage', cluster: 'c' };
    expect(read()).toEqual([
      { ...common, level: 'info', message: 'before' },
      {
        ...common,
        level: 'warn',
        message: 'within\ntwo lines',
        plugin: 'catalog',
        requestId: 'the-id',
      },
    ]);
  });

  it('names the trace', () => {
    const { logger, read } = lines();
    const spanContext = {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
      traceFlags: 1,
    };
    const context = trace.setSpanContext(ROOT_CONTEXT, spanContext);
    jest.spyOn(trace, 'getActiveSpan').mockReturnValue(trace.getSpan(context));
    logger.info('traced');

    expect(read()).toMatchObject([
      { trace_id: spanContext.traceId, span_id: spanContext.spanId },
    ]);
  });

  it('hides secrets', () => {
    const { logger, read } = lines();
    logger.addRedactions(['canary']);
    logger.info('the canary sings', { name: 'canary' });

    expect(read()).toMatchObject([{ message: 'the *** sings', name: '***' }]);
  });

  it('has the levels of the configuration', () => {
    const overrides = [{ level: 'debug', matchers: { plugin: 'catalog' } }];
    const { logger, read } = lines({ level: 'warn', overrides });
    logger.setLevelOverrides(levelOverrides(config({ overrides })));
    logger.info('not this');
    logger.child({ plugin: 'catalog' }).debug('but this');

    expect(read()).toMatchObject([{ message: 'but this' }]);
  });

  it('refuses a level that does not exist', () => {
    const overrides = [{ level: 'loud', matchers: {} }];
    expect(() => levelOverrides(config({ overrides }))).toThrow(
      "backend.logger.overrides[0].level is 'loud': say one of error, warn,",
    );
  });
});
