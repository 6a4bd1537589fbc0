import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { server } from './server.js';

after(() => server.close());

test('answers with its name', async () => {
  await once(server.listen(0), 'listening');
  const response = await fetch(`http://localhost:${server.address().port}`);
  assert.equal(await response.text(), '${{ values.name }}\n');
});
