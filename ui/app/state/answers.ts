import { useEffect, useState } from "preact/hooks";
import { ApiError, post } from "../api/client";
import { toColumns, toRows, type Columns, type Grid, type Row } from "../api/decode";
import type { QueryData } from "../api/types";
import { messageOf } from "./load";
import { autoStep, type QueryState } from "./url";

/** The answer to one expression. */
export interface Answer {
  expression: string;
  columns: Columns | null;
  rows: Row[] | null;
  error: string | null;
  /** The error is that no answer came. */
  unreachable: boolean;
  warnings: string[];
  infos: string[];
}

/** The answers to all expressions of a page, for one grid. */
export interface Answers {
  list: Answer[];
  grid: Grid;
  loading: boolean;
  /** From asking to decoded, in ms. */
  tookMs: number;
  /** False until the first answers are there. */
  ready: boolean;
}

/** Steps up to this length are aligned. */
const alignedStepMs = 30_000;

const nothing: Answers = {
  list: [],
  grid: { start: 0, end: 1, step: 1 },
  loading: false,
  tookMs: 0,
  ready: false,
};

/** Asks for what the state describes whenever it or `turn` changes; `widthPx` is the drawing's, for the step. */
export function useAnswers(state: QueryState, widthPx: number, turn: number): Answers {
  const [answers, setAnswers] = useState<Answers>(nothing);
  const stepMs = state.stepMs ?? autoStep(state.rangeMs, widthPx);
  const { expressions, tab, rangeMs, endMs } = state;
  const key = JSON.stringify([expressions, tab, rangeMs, endMs, stepMs]);

  useEffect(() => {
    if (expressions.every((expression) => expression.trim() === "")) {
      setAnswers(nothing);
      return;
    }
    const stop = new AbortController();
    const started = performance.now();
    const grid = tab === "graph" ? gridOf(rangeMs, endMs, stepMs) : momentOf(endMs);
    setAnswers((old) => ({ ...old, loading: true }));
    const asked = expressions.map((expression) => ask(expression, tab === "graph", grid, stop.signal));
    void Promise.all(asked).then((list) => {
      if (stop.signal.aborted) return;
      const tookMs = performance.now() - started;
      setAnswers((old) => ({ ...keepSeen(old, { list, grid }), loading: false, tookMs, ready: true }));
    });
    return () => stop.abort();
  }, [key, turn]);
  return answers;
}

/** What was seen stays, with the error beside it, while the server does not answer at all. */
function keepSeen(old: Answers, fresh: Pick<Answers, "list" | "grid">): Pick<Answers, "list" | "grid"> {
  const same = old.list.length === fresh.list.length && fresh.list.every((one, at) => one.expression === old.list[at]!.expression);
  if (!same || !fresh.list.every(({ unreachable, expression }) => unreachable || expression.trim() === "")) {
    return fresh;
  }
  return { grid: old.grid, list: fresh.list.map(({ error }, at) => ({ ...old.list[at]!, error })) };
}

/** A table is of one moment: exactly now, or the end. */
function momentOf(endMs: number | null): Grid {
  const end = (endMs ?? Date.now()) / 1000;
  return { start: end, end, step: 1 };
}

/**
 * The steps of a range. One that ends now ends on a whole step, so that reloads do not shift every point; not so
 * with long steps, where that would hide what just happened.
 */
export function gridOf(rangeMs: number, endMs: number | null, stepMs: number, nowMs = Date.now()): Grid {
  const end = endMs ?? (stepMs <= alignedStepMs ? Math.floor(nowMs / stepMs) * stepMs : nowMs);
  const steps = Math.max(1, Math.round(rangeMs / stepMs));
  return { start: (end - steps * stepMs) / 1000, end: end / 1000, step: stepMs / 1000 };
}

async function ask(expression: string, graph: boolean, grid: Grid, signal: AbortSignal): Promise<Answer> {
  const answer: Answer = { expression, columns: null, rows: null, error: null, unreachable: false, warnings: [], infos: [] };
  if (expression.trim() === "") {
    return answer;
  }
  try {
    const reply = graph
      ? await post<QueryData>("query_range", { query: expression, ...grid }, signal)
      : await post<QueryData>("query", { query: expression, time: grid.end }, signal);
    answer.warnings = reply.warnings;
    answer.infos = reply.infos;
    if (graph) {
      answer.columns = toColumns(reply.data, grid);
    } else {
      answer.rows = toRows(reply.data);
    }
  } catch (error) {
    answer.error = messageOf(error);
    answer.unreachable = error instanceof ApiError && error.kind === "network";
  }
  return answer;
}
