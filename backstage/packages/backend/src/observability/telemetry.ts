import {
  coreServices,
  createServiceFactory,
  createServiceRef,
} from '@backstage/backend-plugin-api';
import {
  diag,
  type DiagLogFunction,
  type DiagLogger,
  DiagLogLevel,
} from '@opentelemetry/api';
import { ExpressInstrumentation } from '@opentelemetry/instrumentation-express';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { KnexInstrumentation } from '@opentelemetry/instrumentation-knex';
import { RuntimeNodeInstrumentation } from '@opentelemetry/instrumentation-runtime-node';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';
import { NodeSDK } from '@opentelemetry/sdk-node';

/** How long a collector may keep a pod from ending. */
const SHUTDOWN_MS = 3_000;

/** Writes OpenTelemetry's own complaints in the form of the backend's log. */
const write =
  (level: string): DiagLogFunction =>
  (message, ...rest) => {
    const text = [message, ...rest].map(String).join(' ');
    process.stdout.write(
      `${JSON.stringify({ level, message: text, service: 'opentelemetry' })}\n`,
    );
  };

const diagnostics: DiagLogger = {
  error: write('error'),
  warn: write('warn'),
  info: write('info'),
  debug: write('debug'),
  verbose: write('debug'),
};

/**
 * Starts OpenTelemetry from its standard variables, and returns what sends the
 * rest when the backend stops.
 *
 * Call it before anything loads express or knex: it changes them as they are
 * loaded.
 */
export function startTelemetry(exporters: Record<string, string | undefined>) {
  Object.assign(process.env, exporters);
  // Of itself, a process says in its metrics what OTEL_RESOURCE_ATTRIBUTES has;
  // not its arguments, and nothing that is found out while it already serves.
  process.env.OTEL_NODE_RESOURCE_DETECTORS ||= 'env';
  if (!process.env.OTEL_LOG_LEVEL) {
    // The SDK would keep it to itself that a port is taken.
    diag.setLogger(diagnostics, { logLevel: DiagLogLevel.ERROR });
  }
  const sdk = new NodeSDK({
    instrumentations: [
      new HttpInstrumentation({
        // Probes and scrapes would outnumber, and outrun, what people ask for.
        ignoreIncomingRequestHook: ({ url = '' }) =>
          url === '/metrics' || url.startsWith('/.backstage/health/'),
      }),
      new ExpressInstrumentation(),
      // Within requests and tasks: polling alone is not worth a trace.
      new KnexInstrumentation({ requireParentSpan: true }),
      new UndiciInstrumentation({ requireParentforSpans: true }),
      new RuntimeNodeInstrumentation(),
    ],
  });
  sdk.start();

  return createServiceFactory({
    service: createServiceRef<void>({
      id: 'backstage-gitops.telemetry',
      scope: 'root',
    }),
    initialization: 'always',
    deps: { lifecycle: coreServices.rootLifecycle },
    async factory({ lifecycle }) {
      lifecycle.addShutdownHook(() =>
        Promise.race([
          sdk.shutdown(),
          new Promise<void>(done => setTimeout(done, SHUTDOWN_MS)),
        ]),
      );
    },
  });
}
