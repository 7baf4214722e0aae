import { at } from "../base";

/** A reply of the API: its data, and what the server wants to be known about it. */
export interface Reply<T> {
  data: T;
  warnings: string[];
  infos: string[];
}

/** A request that gave no data: the server's error, or one that says why there was no answer. */
export class ApiError extends Error {
  constructor(
    /** The API's errorType, or `network`, `aborted`, `reply`. */
    readonly kind: string,
    message: string,
    /** The HTTP status, or 0 where there was none. */
    readonly status: number,
  ) {
    super(message);
  }
}

/** Parameters; a list repeats its name, undefined is left out. */
export type Params = Record<string, string | number | string[] | undefined>;

/** Fetches `api/v1/<path>` with GET. */
export function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<Reply<T>> {
  const query = encode(params).toString();
  return request(`api/v1/${path}${query ? `?${query}` : ""}`, { signal });
}

/** Fetches `api/v1/<path>` with a form, because expressions may be longer than an address. */
export function post<T>(path: string, params: Params, signal?: AbortSignal): Promise<Reply<T>> {
  return request(`api/v1/${path}`, { method: "POST", body: encode(params), signal });
}

async function request<T>(path: string, init: RequestInit): Promise<Reply<T>> {
  let reply: Response;
  try {
    reply = await fetch(at(path), { ...init, credentials: "same-origin" });
  } catch (error) {
    if (init.signal?.aborted) {
      throw new ApiError("aborted", "cancelled", 0);
    }
    throw new ApiError("network", `no answer from ${location.host}: is the server running? (${String(error)})`, 0);
  }
  let body: unknown;
  try {
    body = await reply.json();
  } catch {
    if (init.signal?.aborted) {
      throw new ApiError("aborted", "cancelled", 0);
    }
    throw new ApiError("reply", `${path.split("?")[0]} answered ${reply.status} ${reply.statusText} without JSON`, reply.status);
  }
  return decode<T>(body, reply.status);
}

/** The data in an envelope, or the error that it holds. */
export function decode<T>(body: unknown, status: number): Reply<T> {
  const envelope = (body ?? {}) as {
    status?: string;
    data?: T;
    errorType?: string;
    error?: string;
    warnings?: string[];
    infos?: string[];
  };
  if (envelope.status === "success") {
    return { data: envelope.data as T, warnings: envelope.warnings ?? [], infos: envelope.infos ?? [] };
  }
  throw new ApiError(envelope.errorType ?? "reply", envelope.error ?? `the server answered ${status} without a reason`, status);
}

function encode(params: Params): URLSearchParams {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) {
        form.append(name, String(one));
      }
    }
  }
  return form;
}
