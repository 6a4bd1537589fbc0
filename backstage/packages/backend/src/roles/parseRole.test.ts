import { parseRole } from './parseRole';

describe('parseRole', () => {
  it.each([
    { name: 'nothing', args: [], env: 'production', role: 'both' },
    {
      name: 'nothing, in development',
      args: [],
      env: 'development',
      role: 'backend',
    },
    { name: 'backend', args: ['backend'], env: 'production', role: 'backend' },
    {
      name: 'frontend, in development',
      args: ['frontend'],
      env: 'development',
      role: 'frontend',
    },
    {
      name: 'config files alone',
      args: ['--config', 'backend', '--config=frontend'],
      env: 'production',
      role: 'both',
    },
    {
      name: 'a role before config files',
      args: ['frontend', '--config', 'a.yaml', '--config', 'b.yaml'],
      env: 'production',
      role: 'frontend',
    },
    {
      name: 'a role after config files',
      args: ['--config', 'a.yaml', 'backend'],
      env: 'production',
      role: 'backend',
    },
  ])('reads $name as $role', ({ args, env, role }) => {
    expect(parseRole(args, env)).toBe(role);
  });

  it.each([
    {
      name: 'an unknown role',
      args: ['worker'],
      message: "unknown role 'worker'",
    },
    {
      name: 'two roles',
      args: ['backend', 'frontend'],
      message: "at most one role, got 'backend frontend'",
    },
  ])('refuses $name', ({ args, message }) => {
    expect(() => parseRole(args, 'production')).toThrow(message);
  });
});
