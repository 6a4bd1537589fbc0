type Environment = Record<string, string | undefined>;

const SIGNALS = {
  METRICS: ['prometheus', 'otlp', 'console', 'none'],
  TRACES: ['otlp', 'zipkin', 'console', 'none'],
};

/**
 * Reads which exporters OpenTelemetry's standard variables ask for, as the
 * variables that say so for every signal; nothing where they ask for none.
 *
 * An endpoint asks for OTLP, as in the specification; without one, a signal
 * that no variable names is off. Logs go to stdout and nowhere else.
 */
export function exportersOf(env: Environment): Environment | undefined {
  if (isTrue(env.OTEL_SDK_DISABLED)) {
    return undefined;
  }
  const metrics = exporterOf('METRICS', env);
  const traces = exporterOf('TRACES', env);
  if (metrics === 'none' && traces === 'none') {
    return undefined;
  }
  return {
    OTEL_METRICS_EXPORTER: metrics,
    OTEL_TRACES_EXPORTER: traces,
    OTEL_LOGS_EXPORTER: 'none',
  };
}

function exporterOf(signal: keyof typeof SIGNALS, env: Environment): string {
  const variable = `OTEL_${signal}_EXPORTER`;
  const named = env[variable]?.trim();
  if (!named) {
    return env.OTEL_EXPORTER_OTLP_ENDPOINT ||
      env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]
      ? 'otlp'
      : 'none';
  }
  for (const name of named.split(',')) {
    if (!SIGNALS[signal].includes(name.trim())) {
      throw new Error(
        `${variable} is '${named}': say one or more of ${SIGNALS[signal].join(
          ', ',
        )}`,
      );
    }
  }
  return named;
}

function isTrue(value: string | undefined) {
  return value?.trim().toLowerCase() === 'true';
}
