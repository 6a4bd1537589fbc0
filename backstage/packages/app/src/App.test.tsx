import { render, screen } from '@testing-library/react';
import App from './App';

describe('App', () => {
  const env = process.env;

  beforeEach(() => {
    process.env = {
      ...env,
      APP_CONFIG: [
        {
          context: 'test',
          data: {
            app: {
              title: 'Backstage GitOps',
              baseUrl: 'http://localhost:8000',
              extensions: [{ 'page:catalog': { config: { path: '/' } } }],
            },
            backend: { baseUrl: 'http://localhost:4001' },
            auth: { providers: { guest: {} } },
          },
        },
      ] as unknown as string,
    };
  });

  afterEach(() => {
    process.env = env;
  });

  it('offers to sign in as guest, under its title', async () => {
    render(App.createRoot());

    expect(
      await screen.findByRole('button', { name: 'Enter' }, { timeout: 20_000 }),
    ).toBeInTheDocument();
    expect(screen.getByText('Backstage GitOps')).toBeInTheDocument();
  }, 30_000);
});
