// Calls to the control plane, with the session cookie. A refusal becomes an ApiError with the problem's own words.

const TIMEOUT_MS = 10_000;

/** A refusal (status 4xx or 5xx) or silence (status 0). */
export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Send a request and give back the JSON of its answer (null when empty). Raises ApiError. */
export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    const why = error.name === "TimeoutError" ? "did not answer in time" : "cannot be reached";
    throw new ApiError(0, "unreachable", `The control plane ${why}.`);
  }
  const text = await response.text();
  if (!response.ok) throw refusal(response.status, text);
  return text ? JSON.parse(text) : null;
}

/** Read the words of a problem document (RFC 9457), whoever sent it. */
export function refusal(status, text) {
  try {
    const problem = JSON.parse(text);
    return new ApiError(status, problem.code ?? "unknown", problem.detail ?? problem.title ?? `HTTP ${status}`);
  } catch {
    return new ApiError(status, "unknown", `The answer was HTTP ${status}.`);
  }
}

export const get = (path) => call("GET", path);
