// The broker, asked in JSON.

/** Why something was not answered. */
export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options, wait) {
  let answer;
  try {
    answer = await fetch(path, { ...options, credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(wait) });
  } catch {
    throw new ApiError(0, 'the broker does not answer');
  }
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // Something else than the broker may answer, as a proxy does.
  }
  if (!answer.ok) throw new ApiError(answer.status, body?.error ?? `the broker answered ${answer.status}`);
  return body;
}

/** Asks for something. */
export const get = (path) => ask(path, {}, 20_000);

/** Asks for a change. */
export const send = (method, path, body) => ask(path, {
  method,
  headers: body === undefined ? {} : { 'content-type': 'application/json' },
  body: body === undefined ? undefined : JSON.stringify(body),
}, 30_000);

/** A query string of what is set. */
export function query(parameters) {
  const pairs = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}
