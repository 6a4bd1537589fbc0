import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

export const server = createServer((_request, response) => {
  response.end('${{ values.name }}\n');
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  server.listen(process.env.PORT ?? 8080);
}
