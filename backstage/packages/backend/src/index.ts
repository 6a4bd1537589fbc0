import { parseRole, startRole } from './roles';

// An empty variable means "no token", as an optional Kubernetes secret or
// `docker run -e GITHUB_TOKEN` leaves it; the config reader refuses ''.
if (process.env.GITHUB_TOKEN === '') {
  delete process.env.GITHUB_TOKEN;
}

async function main() {
  await startRole(parseRole(process.argv.slice(2)));
}

main().catch(error => {
  // eslint-disable-next-line no-console
  console.error(error);
  process.exit(1);
});
