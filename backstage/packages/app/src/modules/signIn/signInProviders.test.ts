import { mockApis } from '@backstage/frontend-test-utils';
import { signInProviders } from './signInProviders';

describe('signInProviders', () => {
  it.each([
    { name: 'nothing', auth: undefined, ids: [] },
    { name: 'the guest', auth: { providers: { guest: {} } }, ids: ['guest'] },
    {
      name: 'the guest of the image',
      auth: {
        providers: { guest: { dangerouslyAllowOutsideDevelopment: true } },
      },
      ids: ['guest'],
    },
    {
      name: 'the guest turned off',
      auth: {
        providers: { guest: { dangerouslyAllowOutsideDevelopment: false } },
      },
      ids: [],
    },
    {
      name: 'GitHub',
      auth: { providers: { github: { development: {} } } },
      ids: ['github-auth-provider'],
    },
    {
      name: 'GitHub of another environment',
      auth: { providers: { github: { production: {} } } },
      ids: [],
    },
    {
      name: 'both',
      auth: {
        environment: 'production',
        providers: { guest: {}, github: { production: {} } },
      },
      ids: ['guest', 'github-auth-provider'],
    },
  ])('selects $ids, given $name', ({ auth, ids }) => {
    const selected = signInProviders(mockApis.config({ data: { auth } }));
    expect(
      selected.map(provider =>
        typeof provider === 'string' ? provider : provider.id,
      ),
    ).toEqual(ids);
  });
});
