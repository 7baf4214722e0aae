import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, type Params } from "../api/client";

/** What a page knows of something that it loads again and again. */
export interface Loaded<T> {
  data: T | null;
  error: string | null;
  loading: boolean;
  /** The server has no such address, so it is not asked again. */
  missing: boolean;
  /** When the data came, in ms. */
  atMs: number;
  reload: () => void;
}

/**
 * Loads `api/v1/<path>`, and again every `everyMs` while the page is seen; old data stays while new data comes.
 * A null path loads nothing.
 */
export function useApi<T>(path: string | null, everyMs = 0, params: Params = {}): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, "reload">>({ data: null, error: null, loading: true, missing: false, atMs: 0 });
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(params);

  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    setState((old) => ({ ...old, loading: true }));
    get<T>(path, JSON.parse(key) as Params, stop.signal).then(
      ({ data }) => setState({ data, error: null, loading: false, missing: false, atMs: Date.now() }),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        const missing = error instanceof ApiError && error.status === 404;
        setState((old) => ({ ...old, error: messageOf(error), loading: false, missing }));
      },
    );
    return () => stop.abort();
  }, [path, key, turn]);

  // A reload would cancel one that is under way: a slow server would never be heard.
  useInterval(
    () => {
      if (!state.loading) setTurn((old) => old + 1);
    },
    state.missing ? 0 : everyMs,
  );
  return { ...state, reload: () => setTurn((old) => old + 1) };
}

/** Calls back every `everyMs` while the page is seen, and at once on return where a call was missed; 0 never. */
export function useInterval(call: () => void, everyMs: number): void {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    if (everyMs <= 0) return;
    let missed = false;
    const timer = setInterval(() => {
      if (document.hidden) {
        missed = true;
      } else {
        latest.current();
      }
    }, everyMs);
    const shown = () => {
      if (!document.hidden && missed) {
        missed = false;
        latest.current();
      }
    };
    document.addEventListener("visibilitychange", shown);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [everyMs]);
}

/** The words of an error for people. */
export function messageOf(error: unknown): string {
  return error instanceof ApiError || error instanceof Error ? error.message : String(error);
}
