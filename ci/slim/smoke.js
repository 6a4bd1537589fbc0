#!/usr/bin/env node
// Uses a running portal as its people do, and tells what works.
//
//   node smoke.js [--backend http://localhost:4001] [--app http://localhost:8000]
//     [--metrics http://localhost:9464/metrics --series FILE]
//
// FILE has a line per metric, its name and then its labels, that have to be
// among those of a portal which was started with OTEL_METRICS_EXPORTER.

import { parseArgs } from 'node:util';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const { values } = parseArgs({
  options: {
    backend: { type: 'string', default: 'http://localhost:4001' },
    app: { type: 'string', default: 'http://localhost:8000' },
    origin: { type: 'string', default: 'http://localhost:8000' },
    metrics: { type: 'string' },
    series: { type: 'string' },
    timeout: { type: 'string', default: '60' },
  },
});
const deadline = Date.now() + Number(values.timeout) * 1000;
let token;

const checks = {
  'the backend is ready': () => ready(values.backend),
  'the app is ready': () => ready(values.app),
  'the app has its title and its configuration': async () => {
    const page = await (await get(values.app, '/')).text();
    assert.match(page, /<title>Backstage GitOps<\/title>/);
    const script = /type="backstage.io\/config"[^>]*>([^<]*)/.exec(page);
    assert.ok(script, 'the page has no configuration');
    assert.match(script[1], /"baseUrl"/);
    assert.doesNotMatch(script[1], /"database"|"token"/);
  },
  'the app has its scripts, and no source maps': async () => {
    const page = await (await get(values.app, '/')).text();
    const [, src] = /src="(\/static\/[^"]+\.js)"/.exec(page);
    assert.equal((await get(values.app, src)).status, 200);
    assert.notEqual(
      (await fetch(`${values.app}${src}.map`)).headers.get('content-type'),
      'application/json'
    );
  },
  'the app may call the backend with credentials': async () => {
    const { headers } = await fetch(`${values.backend}/api/catalog/entities`, {
      method: 'OPTIONS',
      headers: {
        origin: values.origin,
        'access-control-request-method': 'GET',
      },
    });
    assert.equal(headers.get('access-control-allow-origin'), values.origin);
    assert.equal(headers.get('access-control-allow-credentials'), 'true');
  },
  'nobody reads the catalog without signing in': async () => {
    const response = await fetch(`${values.backend}/api/catalog/entities`);
    assert.equal(response.status, 401);
  },
  'a guest signs in': async () => {
    const response = await post('/api/auth/guest/refresh', {});
    const { backstageIdentity } = await response.json();
    token = backstageIdentity.token;
    assert.equal(
      backstageIdentity.identity.userEntityRef,
      'user:development/guest'
    );
  },
  'the catalog describes this system': () =>
    eventually(async () => {
      const names = await entities('filter=spec.system=backstage-gitops');
      assert.deepEqual(names, [
        'backstage-api',
        'backstage-backend',
        'backstage-chart',
        'backstage-frontend',
        'release-functions',
        'release-toolchain',
      ]);
    }),
  'a template makes a component': async () => {
    const name = `smoke-${Date.now().toString(36)}`;
    const response = await post('/api/scaffolder/v2/tasks', {
      templateRef: 'template:default/component',
      values: {
        name,
        owner: 'group:default/platform',
        destination: 'directory',
      },
    });
    const { id } = await response.json();
    await eventually(async () => {
      const task = await api(`/api/scaffolder/v2/tasks/${id}`);
      assert.notEqual(task.status, 'failed', 'the template has failed');
      assert.equal(task.status, 'completed');
    });
    await eventually(async () => {
      assert.deepEqual(await entities(`filter=metadata.name=${name}`), [name]);
    });
  },
  'the search finds it': () =>
    eventually(async () => {
      const { results } = await api('/api/search/query?term=toolchain');
      assert.ok(
        results.some(({ document }) => /oolchain/.test(document.title))
      );
    }),
  'permissions are decided': async () => {
    const response = await post('/api/permission/authorize', {
      items: [
        {
          id: '1',
          permission: {
            type: 'basic',
            name: 'catalog.entity.create',
            attributes: { action: 'create' },
          },
        },
      ],
    });
    const { items } = await response.json();
    assert.equal(items[0].result, 'ALLOW');
  },
  'kubernetes lists its clusters': async () => {
    assert.ok(Array.isArray((await api('/api/kubernetes/clusters')).items));
  },
  'techdocs answers': async () => {
    const response = await get(
      values.backend,
      '/api/techdocs/sync/default/component/backstage-backend'
    );
    assert.ok([200, 304].includes(response.status), `${response.status}`);
  },
  'the proxy answers': async () => {
    const response = await get(values.backend, '/api/proxy/nothing');
    assert.equal(response.status, 404);
  },
};

if (values.metrics) {
  checks['requests have ids'] = async () => {
    const id = { 'x-request-id': 'smoke' };
    const answer = await fetch(`${values.backend}/api/x`, { headers: id });
    assert.equal(answer.headers.get('x-request-id'), 'smoke');
  };
  checks['the metrics are served'] = () =>
    eventually(async () => {
      const text = await (await fetch(values.metrics)).text();
      const lines = text.split('\n').filter(line => !line.startsWith('#'));
      const missing = readFileSync(values.series, 'utf8')
        .split('\n')
        .filter(Boolean)
        .filter(series => {
          const [name, ...labels] = series.split(' ');
          return !lines.some(
            line =>
              line.startsWith(`${name}{`) &&
              labels.every(label => line.includes(`${label}="`))
          );
        });
      assert.deepEqual(missing, []);
      assert.doesNotMatch(text, /http_route="\/(metrics|\.backstage)/);
    });
}

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    process.stdout.write(`ok    ${name}\n`);
  } catch (error) {
    failed += 1;
    process.stdout.write(`FAIL  ${name}: ${error.message}\n`);
  }
}
process.stdout.write(
  `${Object.keys(checks).length - failed} passed, ${failed} failed\n`
);
process.exit(failed === 0 ? 0 : 1);

async function ready(url) {
  await eventually(async () => {
    const response = await fetch(`${url}/.backstage/health/v1/readiness`);
    assert.equal(response.status, 200);
  });
}

async function eventually(check) {
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await new Promise(resolve => setTimeout(resolve, 250));
    }
  }
}

function get(base, path) {
  return fetch(`${base}${path}`, {
    headers: token ? { authorization: `Bearer ${token}` } : {},
  });
}

async function post(path, body) {
  const response = await fetch(`${values.backend}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    body: JSON.stringify(body),
  });
  assert.ok(response.ok, `POST ${path} answers ${response.status}`);
  return response;
}

async function api(path) {
  const response = await get(values.backend, path);
  assert.ok(response.ok, `GET ${path} answers ${response.status}`);
  return response.json();
}

async function entities(query) {
  const found = await api(`/api/catalog/entities?${query}`);
  return found.map(({ metadata }) => metadata.name).sort();
}
