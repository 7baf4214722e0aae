import { useMemo, useState } from "preact/hooks";
import { explainScrapeError } from "../format/scrape";
import { readableSeconds } from "../format/duration";
import { ago, apiTime, formatTime } from "../format/time";
import { at } from "../base";
import { LabelList } from "../parts/labels";
import { Notice } from "../parts/notice";
import { State } from "../parts/state";
import { Filter, ListHead, Search } from "../parts/filter";
import { useApi } from "../state/load";
import { useTitle } from "../state/title";
import { zone } from "../state/settings";
import { graphLink } from "../state/url";
import type { Health, Target, TargetsData } from "../api/types";

const reloadMs = 5000;
/** Jobs larger than this start with their healthy targets folded. */
const foldAt = 50;
const healths: Health[] = ["down", "unknown", "up"];

/** Every scraped target by job, the unhealthy first. */
export function TargetsPage() {
  useTitle("Targets");
  const { data, error, atMs } = useApi<TargetsData>("targets", reloadMs, { state: "active" });
  const [health, setHealth] = useState<Health | "all">("all");
  const [text, setText] = useState("");
  const targets = data?.activeTargets ?? [];
  const jobs = useMemo(() => byPool(targets, health, text), [data, health, text]);
  // Prometheus counts the dropped only for those who ask for them all.
  const all = useApi<TargetsData>(data && !data.droppedTargetCounts ? "targets" : null, 12 * reloadMs, { state: "dropped" });
  const droppedCounts = data?.droppedTargetCounts ?? all.data?.droppedTargetCounts ?? {};
  const dropped = Object.entries(droppedCounts).filter(([, count]) => count > 0);
  const count = (which: Health) => targets.filter((one) => one.health === which).length;

  return (
    <div class="page" data-testid="targets-page">
      <ListHead title="Targets">
        <Filter
          label="Health"
          value={health}
          onChange={setHealth}
          choices={[
            { value: "all", name: "All", count: targets.length },
            ...healths.map((value) => ({ value, name: value, count: count(value) })),
          ]}
        />
        <Search value={text} onChange={setText} hint="address, label or error" />
      </ListHead>
      {error && <Notice tone="bad">{error}</Notice>}
      {data && targets.length === 0 && (
        <Notice tone="info">
          Nothing is scraped. Name targets under <code>scrape_configs</code> in the configuration and reload it.
        </Notice>
      )}
      {data && targets.length > 0 && jobs.length === 0 && <Notice tone="info">No target matches the filter.</Notice>}
      <div data-testid={data ? "targets" : undefined} class="groups">
        {jobs.map((job) => (
          <Job key={job.pool} {...job} dropped={droppedCounts[job.pool] ?? 0} nowMs={atMs} filtered={health !== "all" || text !== ""} />
        ))}
      </div>
      {dropped.length > 0 && (
        <p class="muted" data-testid="dropped">
          Dropped by relabelling: {dropped.map(([pool, number]) => `${number} of ${pool}`).join(", ")}.
        </p>
      )}
    </div>
  );
}

interface Pool {
  pool: string;
  all: Target[];
  shown: Target[];
}

function Job({ pool, all, shown, dropped, nowMs, filtered }: Pool & { dropped: number; nowMs: number; filtered: boolean }) {
  const up = all.filter(({ health }) => health === "up").length;
  const bad = all.length - up;
  const [open, setOpen] = useState<boolean | null>(null);
  const unfolded = open ?? (filtered || bad > 0 || all.length <= foldAt);
  return (
    <section class="group">
      <h2>
        <button type="button" class="group-head" aria-expanded={unfolded} onClick={() => setOpen(!unfolded)}>
          <span class="fold" aria-hidden="true" />
          {pool}
          <span class={up === all.length ? "count good" : "count bad"}>
            {up} of {all.length} up
          </span>
          {dropped > 0 && <span class="muted small">{dropped} dropped</span>}
        </button>
      </h2>
      {unfolded && (
        <table class="list">
          <thead>
            <tr>
              <th scope="col" class="w-state">Health</th>
              <th scope="col" class="w-target">Target</th>
              <th scope="col">Labels</th>
              <th scope="col" class="num w-time">Last scrape</th>
              <th scope="col" class="num w-time">Took</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((target) => (
              <Row key={target.scrapeUrl + JSON.stringify(target.labels)} target={target} nowMs={nowMs} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Row({ target, nowMs }: { target: Target; nowMs: number }) {
  const { labels, health, lastError, scrapeUrl, globalUrl, lastScrape, lastScrapeDuration, scrapeInterval, scrapeTimeout } = target;
  const scrapedMs = apiTime(lastScrape);
  const selector = `up{job=${JSON.stringify(labels["job"] ?? "")},instance=${JSON.stringify(labels["instance"] ?? "")}}`;
  return (
    <>
      <tr class={lastError ? "with-more" : undefined} data-testid="target" data-health={health}>
        <td class="w-state">
          <State state={health} />
        </td>
        <td class="break">
          {/^https?:/.test(globalUrl) ? (
            <a href={globalUrl} target="_blank" rel="noreferrer">
              {scrapeUrl}
            </a>
          ) : (
            scrapeUrl
          )}{" "}
          <span class="muted small" title={`timeout ${scrapeTimeout}`}>
            every {scrapeInterval}
          </span>
        </td>
        <td>
          <LabelList labels={labels} without={["job"]} />
        </td>
        <td class="num w-time" data-name="scraped" title={scrapedMs === null ? "" : formatTime(scrapedMs, zone.value)}>
          {scrapedMs === null ? "not yet" : ago(scrapedMs, nowMs)}
        </td>
        <td class="num w-time" data-name="took">
          <a href={at(graphLink(selector.replace(/^up/, "scrape_duration_seconds")))} title="Graph of the scrape time">
            {scrapedMs === null ? "–" : readableSeconds(lastScrapeDuration)}
          </a>
        </td>
      </tr>
      {lastError && (
        <tr class="more">
          <td />
          <td colSpan={4} data-testid="target-error">
            <span class="bad-text">{lastError}</span>
            <Advice text={explainScrapeError(lastError, scrapeUrl)} />
          </td>
        </tr>
      )}
    </>
  );
}

function Advice({ text }: { text: string | null }) {
  return text ? <div class="muted">{text}</div> : null;
}

function byPool(targets: Target[], health: Health | "all", text: string): Pool[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (target: Target) => {
    if (health !== "all" && target.health !== health) return false;
    const labels = Object.entries(target.labels).map(([name, value]) => `${name}=${value} ${name}="${value}"`);
    const hay = [target.scrapeUrl, target.scrapePool, target.lastError, ...labels].join(" ").toLowerCase();
    return words.every((word) => hay.includes(word));
  };
  const pools = new Map<string, Pool>();
  for (const target of targets) {
    const pool = pools.get(target.scrapePool) ?? { pool: target.scrapePool, all: [], shown: [] };
    pool.all.push(target);
    if (matches(target)) pool.shown.push(target);
    pools.set(target.scrapePool, pool);
  }
  const rank = ({ health: one }: Target) => healths.indexOf(one);
  const list = [...pools.values()].filter(({ shown }) => shown.length > 0);
  list.forEach(({ shown }) => shown.sort((a, b) => rank(a) - rank(b) || a.scrapeUrl.localeCompare(b.scrapeUrl)));
  return list.sort((a, b) => a.pool.localeCompare(b.pool));
}
