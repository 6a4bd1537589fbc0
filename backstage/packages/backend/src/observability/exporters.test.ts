import { exportersOf } from './exporters';

const exporters = (metrics: string, traces: string) => ({
  OTEL_METRICS_EXPORTER: metrics,
  OTEL_TRACES_EXPORTER: traces,
  OTEL_LOGS_EXPORTER: 'none',
});

describe('exportersOf', () => {
  it.each([
    { name: 'nothing', env: {}, expected: undefined },
    {
      name: 'empty variables, as a manifest may leave them',
      env: { OTEL_METRICS_EXPORTER: '', OTEL_EXPORTER_OTLP_ENDPOINT: '' },
      expected: undefined,
    },
    {
      name: 'none of both',
      env: { OTEL_METRICS_EXPORTER: 'none', OTEL_TRACES_EXPORTER: ' none ' },
      expected: undefined,
    },
    {
      name: 'what is about logs alone',
      env: { OTEL_LOGS_EXPORTER: 'otlp' },
      expected: undefined,
    },
    {
      name: 'metrics',
      env: { OTEL_METRICS_EXPORTER: 'prometheus' },
      expected: exporters('prometheus', 'none'),
    },
    {
      name: 'metrics and no traces, as the chart says it',
      env: {
        OTEL_METRICS_EXPORTER: 'prometheus',
        OTEL_TRACES_EXPORTER: 'none',
      },
      expected: exporters('prometheus', 'none'),
    },
    {
      name: 'traces and no metrics, as the chart says it',
      env: {
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_TRACES_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      },
      expected: exporters('none', 'otlp'),
    },
    {
      name: 'an endpoint alone',
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' },
      expected: exporters('otlp', 'otlp'),
    },
    {
      name: 'an endpoint of the traces',
      env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318' },
      expected: exporters('none', 'otlp'),
    },
    {
      name: 'metrics to Prometheus and an endpoint',
      env: {
        OTEL_METRICS_EXPORTER: 'prometheus',
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      },
      expected: exporters('prometheus', 'otlp'),
    },
    {
      name: 'two exporters of one signal',
      env: { OTEL_METRICS_EXPORTER: 'prometheus, otlp' },
      expected: exporters('prometheus, otlp', 'none'),
    },
    {
      name: 'what is switched off as a whole',
      env: { OTEL_METRICS_EXPORTER: 'prometheus', OTEL_SDK_DISABLED: 'TRUE' },
      expected: undefined,
    },
  ])('reads $name', ({ env, expected }) => {
    expect(exportersOf(env)).toEqual(expected);
  });

  it.each([
    { variable: 'OTEL_METRICS_EXPORTER', value: 'promteheus' },
    { variable: 'OTEL_METRICS_EXPORTER', value: 'prometheus,,otlp' },
    { variable: 'OTEL_TRACES_EXPORTER', value: 'jaeger' },
  ])('refuses $variable=$value', ({ variable, value }) => {
    expect(() => exportersOf({ [variable]: value })).toThrow(
      `${variable} is '${value}': say one or more of `,
    );
  });
});
