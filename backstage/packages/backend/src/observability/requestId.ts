import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse } from 'node:http';

const current = new AsyncLocalStorage<string>();

/** The id of the request that is being answered, where one is. */
export function requestId(): string | undefined {
  return current.getStore();
}

/**
 * Express middleware that gives every request an id: that of its
 * `X-Request-Id`, which proxies set, or a new one. The answer has it too.
 */
export function identifyRequest(
  request: IncomingMessage,
  response: ServerResponse,
  next: () => void,
) {
  const given = request.headers['x-request-id'];
  // It goes to the log and back in a header: nothing but plain characters.
  const id =
    typeof given === 'string' && /^[\w.:+/=@-]{1,128}$/.test(given)
      ? given
      : randomUUID();
  response.setHeader('x-request-id', id);
  current.run(id, next);
}
