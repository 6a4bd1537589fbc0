#!/usr/bin/env node
// Copies from a built Backstage workspace what its backend needs at run time.
//
//   node trace.js --source DIR --out DIR [--entry FILE] [--include PATH]…
//
// The facts of the result are printed as JSON on stdout.

import { parseArgs } from 'node:util';
import { slim } from './src/slim.js';

const { values } = parseArgs({
  options: {
    source: { type: 'string' },
    out: { type: 'string' },
    entry: { type: 'string', default: 'packages/backend/dist/index.cjs.js' },
    include: { type: 'string', multiple: true },
  },
});

if (!values.source || !values.out) {
  fail(
    'usage: trace.js --source DIR --out DIR [--entry FILE] [--include PATH]…'
  );
}

try {
  const facts = await slim(values);
  process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
} catch (error) {
  fail(error.message);
}

function fail(message) {
  process.stderr.write(`trace: ${message}\n`);
  process.exit(1);
}
