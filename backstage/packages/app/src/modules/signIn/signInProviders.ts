import { type SignInProviderConfig } from '@backstage/core-components';
import {
  type ConfigApi,
  githubAuthApiRef,
} from '@backstage/frontend-plugin-api';

/**
 * Selects what the sign-in page offers: the guest unless it is turned off, and
 * GitHub if it is configured for `auth.environment`.
 */
export function signInProviders(
  config: ConfigApi,
): Array<'guest' | SignInProviderConfig> {
  const configured = config.getOptionalConfig('auth.providers');
  const environment =
    config.getOptionalString('auth.environment') ?? 'development';

  const providers: Array<'guest' | SignInProviderConfig> = [];
  if (
    configured?.has('guest') &&
    configured.getOptionalBoolean(
      'guest.dangerouslyAllowOutsideDevelopment',
    ) !== false
  ) {
    providers.push('guest');
  }
  if (configured?.has(`github.${environment}`)) {
    providers.push({
      id: 'github-auth-provider',
      title: 'GitHub',
      message: 'Sign in with your GitHub account.',
      apiRef: githubAuthApiRef,
    });
  }
  return providers;
}
