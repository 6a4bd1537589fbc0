import { createServer, Agent, get, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { identifyRequest, requestId } from './requestId';

describe('identifyRequest', () => {
  let server: Server;
  const finished: (string | undefined)[] = [];
  // One connection for all, so that requests could take each other's id.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });

  beforeAll(async () => {
    server = createServer((request, response) =>
      identifyRequest(request, response, async () => {
        response.on('finish', () => finished.push(requestId()));
        await sleep(5);
        response.end(requestId());
      }),
    );
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  });

  afterAll(async () => {
    agent.destroy();
    await new Promise(done => server.close(done));
  });

  const ask = (headers: Record<string, string> = {}) =>
    new Promise<{ body: string; header: unknown }>((done, fail) => {
      const { port } = server.address() as AddressInfo;
      get({ port, host: '127.0.0.1', agent, headers }, async response => {
        let body = '';
        for await (const chunk of response) {
          body += chunk;
        }
        done({ body, header: response.headers['x-request-id'] });
      }).on('error', fail);
    });

  it('keeps the id that a proxy has given, to the end of the request', async () => {
    const ids = ['a', 'b/c==', '5c9d:1.2@proxy'];
    const answers = await Promise.all(
      ids.map(id => ask({ 'X-Request-Id': id })),
    );

    expect(answers).toEqual(ids.map(id => ({ body: id, header: id })));
    expect(finished.sort()).toEqual([...ids].sort());
  });

  it.each<{ name: string; headers: Record<string, string> }>([
    { name: 'none', headers: {} },
    { name: 'an empty one', headers: { 'X-Request-Id': '' } },
    { name: 'one with spaces', headers: { 'X-Request-Id': 'a b' } },
    { name: 'one with quotes', headers: { 'X-Request-Id': '"},{"' } },
    { name: 'a long one', headers: { 'X-Request-Id': 'a'.repeat(129) } },
  ])('makes one where the request has $name', async ({ headers }) => {
    const { body, header } = await ask(headers);

    expect(header).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(body).toBe(header);
  });

  it('has none outside of requests', () => {
    expect(requestId()).toBeUndefined();
  });
});
