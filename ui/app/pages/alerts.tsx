import { useMemo, useState } from "preact/hooks";
import { at } from "../base";
import { parseSample, seriesText } from "../api/decode";
import { failures } from "../api/deliveries";
import type { Alert, AlertState, Delivery, Labels, Rule, RuleGroup } from "../api/types";
import { formatDuration, readableSeconds } from "../format/duration";
import { ago, apiTime, formatTime } from "../format/time";
import { formatValue, unitOf } from "../format/value";
import { Filter, ListHead, Search } from "../parts/filter";
import { LabelList } from "../parts/labels";
import { Notice } from "../parts/notice";
import { State } from "../parts/state";
import { useApi } from "../state/load";
import { useTitle } from "../state/title";
import { zone } from "../state/settings";
import { graphLink } from "../state/url";

const reloadMs = 5000;
const states: AlertState[] = ["firing", "pending", "inactive"];
/** Alerts of one rule shown before a click on the rest. */
const shownAlerts = 20;

type Shown = AlertState | "all" | "recording" | "failing";

/** Every rule by group with its alerts; groups in trouble first. */
export function AlertsPage() {
  useTitle("Alerts");
  const { data, error, atMs } = useApi<{ groups: RuleGroup[] | null }>("rules", reloadMs);
  const deliveries = useApi<{ deliveries?: Delivery[] | null }>("notifications/deliveries", 2 * reloadMs);
  const [state, setState] = useState<Shown>("all");
  const [text, setText] = useState("");
  const rules = useMemo(() => (data?.groups ?? []).flatMap((group) => group.rules), [data]);
  const groups = useMemo(() => filterGroups(data?.groups ?? [], state, text), [data, state, text]);
  const alerting = rules.filter(({ type }) => type === "alerting");
  const failing = rules.filter((rule) => stateOf(rule) === "failing").length;
  const failed = failures(deliveries.data);

  return (
    <div class="page" data-testid="alerts-page">
      <ListHead title="Alerts">
        <Filter
          label="State"
          value={state}
          onChange={setState}
          choices={[
            { value: "all", name: "All", count: rules.length },
            ...(failing > 0 ? [{ value: "failing" as const, name: "failing", count: failing }] : []),
            ...states.map((value) => ({
              value,
              name: value,
              count: alerting.filter((rule) => stateOf(rule) === value).length,
            })),
            { value: "recording", name: "recording", count: rules.length - alerting.length },
          ]}
        />
        <Search value={text} onChange={setText} hint="rule, label or expression" />
      </ListHead>
      {error && <Notice tone="bad">{error}</Notice>}
      {failed.map((delivery, index) => (
        <Notice key={index} tone="bad" testid="delivery-failure">
          A notification to {delivery.receiver} was not delivered after{" "}
          {delivery.attempts === 1 ? "1 attempt" : `${delivery.attempts} attempts`} (
          {formatTime(Date.parse(delivery.time), zone.value)}): {delivery.error}
        </Notice>
      ))}
      {data && rules.length === 0 && (
        <Notice tone="info">
          No rules are loaded. Name rule files under <code>rule_files</code> in the configuration and reload it.
        </Notice>
      )}
      {data && rules.length > 0 && groups.length === 0 && <Notice tone="info">No rule matches the filter.</Notice>}
      <div class="groups" data-testid={data ? "alerts" : undefined}>
        {groups.map((group) => (
          <Group key={`${group.file};${group.name}`} group={group} nowMs={atMs} />
        ))}
      </div>
    </div>
  );
}

function Group({ group, nowMs }: { group: RuleGroup; nowMs: number }) {
  const evaluatedMs = apiTime(group.lastEvaluation);
  return (
    <section class="group">
      <h2 class="group-title">
        {group.name}
        <span class="muted small" title={group.file}>
          {group.file.split("/").at(-1)} · every {formatDuration(group.interval * 1000)}
          {evaluatedMs !== null &&
            ` · evaluated ${ago(evaluatedMs, nowMs)} in ${readableSeconds(group.evaluationTime)}`}
        </span>
      </h2>
      <div class="rules">
        {group.rules.map((rule, index) => (
          <RuleRow key={`${rule.name} ${index}`} rule={rule} nowMs={nowMs} />
        ))}
      </div>
    </section>
  );
}

function RuleRow({ rule, nowMs }: { rule: Rule; nowMs: number }) {
  const active = rule.alerts ?? [];
  const state = stateOf(rule);
  const [open, setOpen] = useState<boolean | null>(null);
  const unfolded = open ?? (state === "firing" || state === "pending" || state === "failing");
  return (
    <article class="rule" data-testid="rule" data-state={state}>
      <button type="button" class="rule-head" aria-expanded={unfolded} onClick={() => setOpen(!unfolded)}>
        <span class="fold" aria-hidden="true" />
        <State state={state} />
        <span class="rule-name">{rule.name}</span>
        {active.length > 0 && <span class="count">{active.length}</span>}
        <code class="rule-query">{unfolded ? "" : rule.query}</code>
        <span class="muted small num">
          {rule.duration ? `for ${formatDuration(rule.duration * 1000)}` : ""}
        </span>
      </button>
      {unfolded && <RuleBody rule={rule} active={active} nowMs={nowMs} />}
    </article>
  );
}

function RuleBody({ rule, active, nowMs }: { rule: Rule; active: Alert[]; nowMs: number }) {
  const evaluatedMs = apiTime(rule.lastEvaluation);
  return (
    <div class="rule-body">
      {rule.lastError && <Notice tone="bad">{rule.lastError}</Notice>}
      <div class="rule-facts">
        <a href={at(graphLink(rule.query))} data-testid="rule-graph">
          Graph of the expression
        </a>
        {rule.keepFiringFor ? <span>keeps firing for {formatDuration(rule.keepFiringFor * 1000)}</span> : null}
        {evaluatedMs !== null && (
          <span class="muted">
            evaluated {ago(evaluatedMs, nowMs)} in {readableSeconds(rule.evaluationTime)}
          </span>
        )}
        <LabelList labels={rule.labels ?? {}} />
      </div>
      <code class="rule-full">{rule.query}</code>
      <Annotations annotations={rule.annotations ?? {}} quiet={active.length > 0} />
      {active.length > 0 && <AlertTable rule={rule} active={active} nowMs={nowMs} />}
    </div>
  );
}

function AlertTable({ rule, active, nowMs }: { rule: Rule; active: Alert[]; nowMs: number }) {
  const [all, setAll] = useState(false);
  const unit = unitOf(rule.query.replace(/[<>=!]=?\s*[\d.e+-]+\s*$/, ""));
  const rank = ({ state }: Alert) => states.indexOf(state);
  const sorted = [...active].sort((a, b) => rank(a) - rank(b));
  const shown = all ? sorted : sorted.slice(0, shownAlerts);
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col" class="w-state">State</th>
          <th scope="col">Labels</th>
          <th scope="col" class="num w-time">Value</th>
          <th scope="col" class="num w-since">Active since</th>
        </tr>
      </thead>
      <tbody>
        {shown.map((alert) => (
          <tr key={seriesText(alert.labels)} data-testid="alert" data-state={alert.state}>
            <td class="w-state">
              <State state={alert.state} />
            </td>
            <td>
              <LabelList labels={alert.labels} without={["alertname"]} />
              <Annotations annotations={alert.annotations} quiet={false} />
            </td>
            <td class="num w-time" data-name="value" title={alert.value}>
              {formatValue(parseSample(alert.value), unit)}
            </td>
            <td class="num w-since" data-name="since">
              <Since text={alert.activeAt} nowMs={nowMs} />
              {apiTime(alert.keepFiringSince) !== null && <div class="muted small">kept firing</div>}
            </td>
          </tr>
        ))}
      </tbody>
      {shown.length < sorted.length && (
        <tfoot>
          <tr>
            <td colSpan={4}>
              <button type="button" class="link" onClick={() => setAll(true)}>
                Show {sorted.length - shown.length} more
              </button>
            </td>
          </tr>
        </tfoot>
      )}
    </table>
  );
}

function Since({ text, nowMs }: { text: string | undefined; nowMs: number }) {
  const sinceMs = apiTime(text);
  if (sinceMs === null) {
    return <>–</>;
  }
  return (
    <span title={ago(sinceMs, nowMs)}>
      {formatTime(sinceMs, zone.value)} <span class="muted">({readableSeconds(Math.max(0, Math.round((nowMs - sinceMs) / 1000)))})</span>
    </span>
  );
}

function Annotations({ annotations, quiet }: { annotations: Labels; quiet: boolean }) {
  const pairs = Object.entries(annotations);
  if (pairs.length === 0 || quiet) {
    return null;
  }
  return (
    <dl class="annotations">
      {pairs.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {/^https?:\/\/\S+$/.test(value) ? (
              <a href={value} target="_blank" rel="noreferrer">
                {value}
              </a>
            ) : (
              value
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function stateOf(rule: Rule): AlertState | "recording" | "failing" {
  if (rule.health === "err") return "failing";
  return rule.type === "recording" ? "recording" : (rule.state ?? "inactive");
}

function filterGroups(groups: RuleGroup[], state: Shown, text: string): RuleGroup[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (group: RuleGroup, rule: Rule) => {
    if (state !== "all" && stateOf(rule) !== state) return false;
    const labels = [rule.labels ?? {}, ...(rule.alerts ?? []).map((alert) => alert.labels)].map(seriesText);
    const hay = [group.name, rule.name, rule.query, ...labels].join(" ").toLowerCase();
    return words.every((word) => hay.includes(word));
  };
  return groups
    .map((group) => ({ ...group, rules: group.rules.filter((rule) => matches(group, rule)) }))
    .filter(({ rules }) => rules.length > 0)
    .sort((a, b) => trouble(a) - trouble(b));
}

/** How urgently a group is to be looked at: 0 where a rule fails or fires. */
function trouble({ rules }: RuleGroup): number {
  const found = rules.map(stateOf);
  return found.some((state) => state === "failing" || state === "firing") ? 0 : found.includes("pending") ? 1 : 2;
}
