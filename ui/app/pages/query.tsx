import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { at } from "../base";
import { ExpressionInput, loadEditor } from "../editor/input";
import { formatDuration, parseDuration, readableSeconds } from "../format/duration";
import { Icon } from "../parts/icons";
import { ExpressionNotice } from "../parts/notice";
import { TimeBar } from "../parts/timebar";
import { useAnswers, type Answers } from "../state/answers";
import { useInterval } from "../state/load";
import { useTitle } from "../state/title";
import { pan, zoomOut } from "../state/span";
import { defaults, maxExpressions, readState, writeState, type QueryState } from "../state/url";
import { GraphView } from "./graph";
import { Start } from "./start";
import { TableView } from "./table";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const steps = ["1s", "5s", "10s", "15s", "30s", "1m", "5m", "15m", "1h", "6h", "1d"];

/** Expressions, and their answers as a graph or a table. The address holds all of its state. */
export function QueryPage() {
  const { url, route } = useLocation();
  const search = url.includes("?") ? url.slice(url.indexOf("?")) : "";
  const state = useMemo(() => readState(search), [search]);
  const [drafts, setDrafts] = useState(state.expressions);
  const [revision, setRevision] = useState(0);
  const [turn, setTurn] = useState(0);
  const [width, setWidth] = useState(() => Math.max(300, innerWidth - 80));
  const body = useRef<HTMLDivElement>(null);
  const shared = JSON.stringify(state.expressions);

  const replaceDrafts = (texts: string[]) => {
    setDrafts(texts);
    setRevision((old) => old + 1);
  };
  useEffect(() => replaceDrafts(state.expressions), [shared]);
  useTitle(state.expressions.find((one) => one.trim() !== "") ?? "Query");
  useEffect(() => {
    const measure = () => setWidth(Math.round((body.current?.clientWidth ?? innerWidth) / 50) * 50);
    measure();
    addEventListener("resize", measure);
    return () => removeEventListener("resize", measure);
  }, []);

  const empty = state.expressions.every((one) => one.trim() === "");
  const answers = useAnswers(state, width, turn);
  // A reload would cancel one that is under way: slow queries would never be answered.
  const reload = () => {
    if (!answers.loading) setTurn((old) => old + 1);
  };
  useInterval(reload, empty || state.endMs !== null ? 0 : state.refreshMs);
  useEffect(() => {
    if (answers.ready) loadEditor();
  }, [answers.ready]);

  const go = useCallback(
    (patch: Partial<QueryState>, replace = false) => {
      const next = writeState({ ...readState(location.search), ...patch });
      if (next === location.search) {
        setTurn((old) => old + 1);
      } else {
        route(at("query") + next, replace);
      }
    },
    [route],
  );
  const run = (expressions = drafts) => go({ expressions });
  const setDraft = (index: number, text: string) =>
    setDrafts((old) => old.map((one, position) => (position === index ? text : one)));
  const remove = (index: number) => {
    const left = drafts.filter((_, position) => position !== index);
    replaceDrafts(left);
    run(left);
  };

  return (
    <div class="page query" data-testid="query-page">
      <h1 class="sr-only">Query</h1>
      <div class="asks">
        {drafts.map((text, index) => (
          <div key={index} class="ask">
            {drafts.length > 1 && (
              <span class="letter big" aria-hidden="true">
                {letters[index]}
              </span>
            )}
            <ExpressionInput
              text={text}
              revision={revision}
              label={drafts.length > 1 ? `Expression ${letters[index]}` : "Expression"}
              hint="PromQL, such as rate(http_requests_total[5m]): Enter runs it"
              autofocus={index === 0 && empty}
              invalid={answers.list[index]?.error != null && answers.list[index]?.expression === text}
              onChange={(changed) => setDraft(index, changed)}
              onRun={() => run()}
            />
            {drafts.length > 1 && (
              <button type="button" class="tool" aria-label={`Remove expression ${letters[index]}`} title="Remove" onClick={() => remove(index)}>
                <Icon name="close" size={16} />
              </button>
            )}
            {index === 0 && (
              <button type="button" class="primary run" data-testid="run" onClick={() => run()}>
                Run
              </button>
            )}
          </div>
        ))}
        <Notes answers={answers} />
      </div>
      <div class="toolbar">
        <div class="tabs" role="tablist" aria-label="Show the answer as">
          {(["graph", "table"] as const).map((tab) => (
            <button
              key={tab}
              type="button"
              role="tab"
              id={`tab-${tab}`}
              aria-selected={state.tab === tab}
              aria-controls="answer"
              data-testid={`tab-${tab}`}
              onClick={() => go({ tab })}
            >
              {tab === "graph" ? "Graph" : "Table"}
            </button>
          ))}
        </div>
        <TimeBar
          rangeMs={state.rangeMs}
          endMs={state.endMs}
          refreshMs={state.refreshMs}
          onSpan={(span) => go(span)}
          onRefresh={(refreshMs) => go({ refreshMs }, true)}
        />
        {state.tab === "graph" && <GraphTools state={state} go={go} />}
        <span class="toolbar-gap" />
        <button
          type="button"
          class="tool wide"
          disabled={drafts.length >= maxExpressions}
          title="One more expression on the same graph"
          data-testid="add-expression"
          onClick={() => setDrafts((old) => [...old, ""])}
        >
          <Icon name="plus" size={16} /> Expression
        </button>
        {!empty && <ShareButton state={state} onFreeze={(frozen) => go(frozen, true)} />}
      </div>
      <div class={answers.loading ? "progress on" : "progress"} aria-hidden="true" />
      <div ref={body} id="answer" class="answer" role={empty ? undefined : "tabpanel"} aria-labelledby={empty ? undefined : `tab-${state.tab}`} aria-busy={answers.loading}>
        {empty ? (
          <Start onReady={loadEditor} />
        ) : state.tab === "graph" ? (
          <GraphView
            answers={answers}
            state={state}
            onZoom={(from, to) => {
              // Links hold whole seconds.
              const end = Math.ceil(to);
              go({ rangeMs: (end - Math.floor(from)) * 1000, endMs: end * 1000 });
            }}
            onZoomOut={() => go(zoomOut(state))}
            onPan={(seconds) => go(pan(state, seconds * 1000))}
          />
        ) : (
          <TableView answers={answers} />
        )}
      </div>
      {answers.ready && !empty && <Footing answers={answers} state={state} />}
    </div>
  );
}

function Notes({ answers }: { answers: Answers }) {
  const prefix = (index: number) => (answers.list.length > 1 ? `${letters[index]}: ` : "");
  return (
    <>
      {answers.list.map(({ expression, error, warnings, infos }, index) => (
        <div key={index} class="notes">
          {error && <ExpressionNotice tone="bad" message={prefix(index) + error} expression={expression} />}
          {warnings.map((message) => (
            <ExpressionNotice key={message} tone="warn" message={prefix(index) + message} expression={expression} />
          ))}
          {infos.map((message) => (
            <ExpressionNotice key={message} tone="info" message={prefix(index) + message} expression={expression} />
          ))}
        </div>
      ))}
    </>
  );
}

function GraphTools({ state, go }: { state: QueryState; go: (patch: Partial<QueryState>, replace?: boolean) => void }) {
  const own = state.stepMs === null ? "auto" : formatDuration(state.stepMs);
  const choices = own === "auto" || steps.includes(own) ? steps : [own, ...steps];
  const several = state.expressions.filter((one) => one.trim() !== "").length > 1;
  return (
    <>
      <label class="tool select">
        <span class="muted">step</span>
        <select
          data-testid="step"
          aria-label="Step between points"
          value={own}
          onChange={(event) => go({ stepMs: parseDuration(event.currentTarget.value) })}
        >
          <option value="auto">auto</option>
          {choices.map((text) => (
            <option key={text} value={text}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <button
        type="button"
        class="tool wide"
        aria-pressed={state.display === "stacked"}
        data-testid="stacked"
        onClick={() => go({ display: state.display === "stacked" ? "lines" : "stacked" }, true)}
      >
        Stacked
      </button>
      {several && (
        <button type="button" class="tool wide" aria-pressed={state.split} onClick={() => go({ split: !state.split }, true)}>
          One graph each
        </button>
      )}
    </>
  );
}

/** Copies a link that shows to others what is seen here: a range that ends now is written down as times. */
function ShareButton({ state, onFreeze }: { state: QueryState; onFreeze: (frozen: QueryState) => void }) {
  const [copied, setCopied] = useState<"" | "Copied" | "Copy the address">("");
  const share = () => {
    const frozen = { ...state, endMs: state.endMs ?? Math.floor(Date.now() / 1000) * 1000, refreshMs: defaults.refreshMs };
    const link = location.origin + at("query") + writeState(frozen);
    const done = (text: typeof copied) => {
      setCopied(text);
      setTimeout(() => setCopied(""), 2000);
    };
    // Browsers give a clipboard to pages of https and localhost only; without one the address itself is the link.
    const instead = () => {
      onFreeze(frozen);
      done("Copy the address");
    };
    if (navigator.clipboard) {
      navigator.clipboard.writeText(link).then(() => done("Copied"), instead);
    } else {
      instead();
    }
  };
  return (
    <button type="button" class="tool wide" data-testid="share" title="Copy a link to exactly this time" onClick={share}>
      <Icon name="link" size={16} /> <span aria-live="polite">{copied || "Share"}</span>
    </button>
  );
}

function Footing({ answers, state }: { answers: Answers; state: QueryState }) {
  const series = answers.list.reduce((sum, { columns, rows }) => sum + (columns?.lines.length ?? rows?.length ?? 0), 0);
  const texts = [
    `${series} series`,
    state.tab === "graph" ? `step ${formatDuration(answers.grid.step * 1000)}` : "",
    `answered in ${readableSeconds(answers.tookMs / 1000)}`,
  ];
  return (
    <p class="footing muted" data-testid="footing" data-series={series}>
      {texts.filter((text) => text !== "").join(" · ")}
    </p>
  );
}

