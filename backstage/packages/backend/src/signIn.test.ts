import {
  mockCredentials,
  mockServices,
  startTestBackend,
} from '@backstage/backend-test-utils';
import authPlugin from '@backstage/plugin-auth-backend';
import githubProvider from '@backstage/plugin-auth-backend-module-github-provider';
import catalogPlugin from '@backstage/plugin-catalog-backend';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const APP = 'http://localhost:8000';

/** A GitHub on which the code of a sign-in is the login of the user. */
async function startGitHub(): Promise<Server> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    if (request.url === '/api/v3/user') {
      const login = request.headers.authorization?.replace('Bearer ', '');
      response.end(JSON.stringify({ login, id: 1, node_id: 'U_1' }));
      return;
    }
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const login = new URLSearchParams(body).get('code');
      response.end(
        JSON.stringify({ access_token: login, token_type: 'bearer' }),
      );
    });
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  return server;
}

describe('signing in with GitHub', () => {
  let directory: string;
  let github: Server;
  let backend: Awaited<ReturnType<typeof startTestBackend>>;
  let url: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sign-in-'));
    await writeFile(
      join(directory, 'people.yaml'),
      `apiVersion: backstage.io/v1alpha1
kind: User
metadata: { name: octocat }
spec: { memberOf: [platform] }
`,
    );
    github = await startGitHub();
    const { port } = github.address() as AddressInfo;
    backend = await startTestBackend({
      features: [
        mockServices.rootConfig.factory({
          data: {
            app: { baseUrl: APP },
            backend: { baseUrl: 'http://localhost:4001' },
            auth: {
              providers: {
                github: {
                  production: {
                    clientId: 'id',
                    clientSecret: 'secret',
                    enterpriseInstanceUrl: `http://127.0.0.1:${port}`,
                    signIn: {
                      resolvers: [
                        { resolver: 'usernameMatchingUserEntityName' },
                      ],
                    },
                  },
                },
              },
            },
            catalog: {
              locations: [
                join(directory, 'people.yaml'),
                resolve(__dirname, '../../../catalog/org.yaml'),
              ].map(target => ({
                type: 'file',
                target,
                rules: [{ allow: ['User', 'Group'] }],
              })),
            },
          },
        }),
        authPlugin,
        githubProvider,
        catalogPlugin,
      ],
    });
    url = `http://localhost:${backend.server.port()}/api`;

    const deadline = Date.now() + 20_000;
    let users = 0;
    while (users < 2 && Date.now() < deadline) {
      await new Promise(done => setTimeout(done, 200));
      const response = await fetch(`${url}/catalog/entities?filter=kind=user`, {
        headers: { authorization: mockCredentials.user.header() },
      });
      users = (await response.json()).length;
    }
  }, 40_000);

  afterAll(async () => {
    await backend?.stop();
    github?.close();
    await rm(directory, { recursive: true, force: true });
  });

  /** Goes the way of a browser and returns what its popup tells the app. */
  async function signIn(login: string) {
    const start = await fetch(
      `${url}/auth/github/start?env=production&origin=${APP}`,
      { redirect: 'manual' },
    );
    const authorize = new URL(start.headers.get('location')!);
    const cookie = start.headers
      .getSetCookie()
      .map(line => line.split(';')[0])
      .filter(pair => !pair.endsWith('='))
      .join('; ');
    const query = new URLSearchParams({
      code: login,
      state: authorize.searchParams.get('state')!,
    });
    const frame = await fetch(`${url}/auth/github/handler/frame?${query}`, {
      headers: { cookie },
    });
    const [, message] = /authResponse = decodeURIComponent\('([^']*)'\)/.exec(
      await frame.text(),
    )!;
    return JSON.parse(decodeURIComponent(message));
  }

  it.each(['octocat', 'OctoCat'])('makes %s the User octocat', async login => {
    const { response } = await signIn(login);
    expect(response.backstageIdentity.identity).toMatchObject({
      userEntityRef: 'user:default/octocat',
    });
  });

  it.each([
    { login: 'hubot', who: 'who is no User' },
    { login: 'guest', who: 'whose name is that of the guest' },
  ])('refuses $login, $who', async ({ login }) => {
    const { response, error } = await signIn(login);
    expect(response).toBeUndefined();
    expect(error.message).toMatch(/unable to resolve user identity/);
  });
});
