import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pruneToFrontend, pruneToSecrets } from '../src/prune.js';

const object = properties => ({ type: 'object', properties });
const secret = { type: 'string', visibility: 'secret', minLength: 3 };
const shown = { type: 'string', visibility: 'frontend', description: 'Why' };
const hidden = { type: 'string', description: 'Why' };

const secrets = [
  { name: 'nothing to hide', schema: object({ a: hidden }), pruned: {} },
  {
    name: 'a secret beside others',
    schema: { ...object({ a: hidden, b: secret }), required: ['a'] },
    pruned: object({ b: { visibility: 'secret' } }),
  },
  {
    name: 'a secret below any key keeps the keys that are named',
    schema: { ...object({ a: hidden }), additionalProperties: secret },
    pruned: {
      ...object({ a: {} }),
      additionalProperties: { visibility: 'secret' },
    },
  },
  {
    name: 'secrets in a list',
    schema: { type: 'array', items: object({ a: hidden, b: secret }) },
    pruned: { type: 'array', items: object({ b: { visibility: 'secret' } }) },
  },
  {
    name: 'every alternative is visited',
    schema: { anyOf: [hidden, secret, object({ a: secret })] },
    pruned: {
      anyOf: [
        { visibility: 'secret', not: {} },
        { ...object({ a: { visibility: 'secret' } }), not: {} },
      ],
    },
  },
  {
    name: 'definitions that are referred to, be it in a circle',
    schema: {
      ...object({ a: { $ref: '#/definitions/Node' }, b: hidden }),
      definitions: {
        Node: object({ next: { $ref: '#/definitions/Node' }, key: secret }),
        Plain: object({ a: hidden }),
      },
    },
    pruned: {
      ...object({ a: { $ref: '#/definitions/Node' } }),
      definitions: {
        Node: object({
          next: { $ref: '#/definitions/Node' },
          key: { visibility: 'secret' },
        }),
      },
    },
  },
  {
    name: 'everything below a deep secret',
    schema: object({
      a: { ...object({ b: hidden }), deepVisibility: 'secret' },
    }),
    pruned: object({ a: { deepVisibility: 'secret' } }),
  },
];

for (const { name, schema, pruned } of secrets) {
  test(`pruneToSecrets: ${name}`, () => {
    assert.deepEqual(pruneToSecrets(schema), pruned);
  });
}

test('pruneToSecrets refuses to overlook a secret', () => {
  const schema = { type: 'object', a: secret, visibility: 'secret' };
  schema.dependentSchemas = { b: secret };
  assert.throws(() => pruneToSecrets(schema), /marks a secret below/);
});

const frontends = [
  { name: 'nothing to show', schema: object({ a: hidden }), pruned: {} },
  {
    name: 'what is shown is checked as before',
    schema: { ...object({ a: hidden, b: shown }), required: ['b'] },
    pruned: { ...object({ b: shown }), required: ['b'] },
  },
  {
    name: 'what is dropped does not become forbidden',
    schema: { ...object({ a: hidden, b: shown }), additionalProperties: false },
    pruned: object({ b: shown }),
  },
  {
    name: 'what is dropped does not fall under the other keys',
    schema: { ...object({ a: hidden }), additionalProperties: shown },
    pruned: { ...object({ a: {} }), additionalProperties: shown },
  },
  {
    name: 'alternatives stay whole, with what they refer to',
    schema: {
      ...object({ a: { oneOf: [shown, { $ref: '#/definitions/Plain' }] } }),
      definitions: {
        Plain: object({ a: hidden }),
        Other: object({ a: shown }),
      },
    },
    pruned: {
      ...object({ a: { oneOf: [shown, { $ref: '#/definitions/Plain' }] } }),
      definitions: { Plain: object({ a: hidden }) },
    },
  },
  {
    name: 'deprecations are told',
    schema: object({ a: { ...hidden, deprecated: 'Use b' }, c: hidden }),
    pruned: object({ a: { ...hidden, deprecated: 'Use b' } }),
  },
];

for (const { name, schema, pruned } of frontends) {
  test(`pruneToFrontend: ${name}`, () => {
    assert.deepEqual(pruneToFrontend(schema), pruned);
  });
}
