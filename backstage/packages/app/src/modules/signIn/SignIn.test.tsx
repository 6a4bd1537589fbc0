import { createApp } from '@backstage/frontend-defaults';
import { mockApis } from '@backstage/frontend-test-utils';
import { render, screen } from '@testing-library/react';
import { signInModule } from '.';

describe('the sign-in page', () => {
  const open = (auth: { [key: string]: any }) => {
    const config = mockApis.config({
      data: {
        app: { title: 'Backstage GitOps', baseUrl: 'http://localhost:8000' },
        backend: { baseUrl: 'http://localhost:4001' },
        auth,
      },
    });
    const app = createApp({
      features: [signInModule],
      advanced: { configLoader: async () => ({ config }) },
    });
    render(app.createRoot());
  };

  const guest = () => screen.queryByRole('button', { name: 'Enter' });
  const github = () => screen.queryByRole('button', { name: 'Sign In' });

  it('offers the guest and GitHub if both are configured', async () => {
    open({ providers: { guest: {}, github: { development: {} } } });

    expect(
      await screen.findByRole('button', { name: 'Enter' }, { timeout: 20_000 }),
    ).toBeInTheDocument();
    expect(github()).toBeInTheDocument();
  }, 30_000);

  it('offers GitHub alone if the guest is turned off', async () => {
    open({
      environment: 'production',
      providers: {
        guest: { dangerouslyAllowOutsideDevelopment: false },
        github: { production: {} },
      },
    });

    expect(
      await screen.findByText('GitHub', {}, { timeout: 20_000 }),
    ).toBeInTheDocument();
    expect(github()).toBeInTheDocument();
    expect(guest()).not.toBeInTheDocument();
  }, 30_000);

  it('says that nobody can sign in if there is no provider', async () => {
    open({
      providers: { guest: { dangerouslyAllowOutsideDevelopment: false } },
    });

    expect(
      await screen.findByText(
        /Nobody can sign in: configure a provider/,
        {},
        { timeout: 20_000 },
      ),
    ).toBeInTheDocument();
    expect(guest()).not.toBeInTheDocument();
    expect(github()).not.toBeInTheDocument();
  }, 30_000);
});
