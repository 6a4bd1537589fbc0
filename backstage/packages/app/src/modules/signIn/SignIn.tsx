import { configApiRef, useApi } from '@backstage/frontend-plugin-api';
import {
  SignInPageBlueprint,
  type SignInPageProps,
} from '@backstage/plugin-app-react';
import { SignInPage } from '@backstage/core-components';
import { signInProviders } from './signInProviders';

/** The sign-in page with the providers that the configuration has. */
export const SignIn = SignInPageBlueprint.make({
  params: { loader: async () => ConfiguredSignInPage },
});

function ConfiguredSignInPage(props: SignInPageProps) {
  const providers = signInProviders(useApi(configApiRef));
  return (
    <SignInPage
      {...props}
      providers={providers}
      title={
        providers.length === 0
          ? 'Nobody can sign in: configure a provider in auth.providers.'
          : undefined
      }
    />
  );
}
