import { at } from "../base";
import { readableSeconds } from "../format/duration";
import { apiTime, formatTime } from "../format/time";
import { formatValue } from "../format/value";
import { Notice } from "../parts/notice";
import { useApi } from "../state/load";
import { useTitle } from "../state/title";
import { zone } from "../state/settings";
import { graphLink } from "../state/url";

const reloadMs = 15_000;

interface Count {
  name: string;
  value: number;
}

interface StorageStatus {
  headStats: { numSeries: number; numLabelPairs?: number; chunkCount?: number; minTime: number; maxTime: number };
  seriesCountByMetricName?: Count[];
  labelValueCountByLabelName?: Count[];
}

type Facts = Record<string, string | number | boolean | null>;

/** What runs, with which settings, and what it holds. */
export function StatusPage() {
  useTitle("Status");
  const runtime = useApi<Facts>("status/runtimeinfo", reloadMs);
  const build = useApi<Facts>("status/buildinfo");
  const storage = useApi<StorageStatus>("status/tsdb", reloadMs);
  const flags = useApi<Record<string, string>>("status/flags");
  const config = useApi<{ yaml: string }>("status/config", reloadMs);
  const ok = runtime.data?.["reloadConfigSuccess"];
  const head = storage.data?.headStats;
  return (
    <div class="page" data-testid="status-page">
      <div class="page-head">
        <h1>Status</h1>
      </div>
      {ok === false && (
        <Notice tone="bad">
          The configuration on disk was refused at the last reload; the one below is still in force. The server's log
          names the line.
        </Notice>
      )}
      {typeof runtime.data?.["corruptionCount"] === "number" && runtime.data["corruptionCount"] > 0 && (
        <Notice tone="warn">{runtime.data["corruptionCount"]} damaged parts of the storage were set aside.</Notice>
      )}
      <div class="columns" data-testid={runtime.data || runtime.error ? "status" : undefined}>
        <Section title="Running" error={runtime.error} facts={runtimeFacts(runtime.data)} />
        <Section title="Build" error={build.error} facts={Object.entries(build.data ?? {}).map(([name, value]) => [words(name), value])} />
        <Section
          title="Recent samples"
          error={storage.error}
          facts={
            head
              ? [
                  ["series", head.numSeries.toLocaleString("en")],
                  ["label pairs", head.numLabelPairs?.toLocaleString("en")],
                  ["chunks", head.chunkCount?.toLocaleString("en")],
                  ["from", momentOf(head.minTime)],
                  ["to", momentOf(head.maxTime)],
                ]
              : []
          }
        />
        <Counts title="Metrics with the most series" counts={storage.data?.seriesCountByMetricName} link />
        <Counts title="Labels with the most values" counts={storage.data?.labelValueCountByLabelName} />
      </div>
      <section class="group">
        <h2 class="group-title">Configuration</h2>
        {config.error && <Notice tone="bad">{config.error}</Notice>}
        <pre class="config" tabIndex={0} aria-label="Configuration in force">{config.data?.yaml ?? ""}</pre>
      </section>
      <Section title="Flags" error={flags.error} facts={Object.entries(flags.data ?? {}).map(([name, value]) => [`--${name}`, value])} />
    </div>
  );
}

function Section({ title, error, facts }: { title: string; error: string | null; facts: [string, unknown][] }) {
  const shown = facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return (
    <section class="group">
      <h2 class="group-title">{title}</h2>
      {error && <Notice tone="bad">{error}</Notice>}
      <dl class="facts num">
        {shown.map(([name, value]) => [<dt key={`${name} t`}>{name}</dt>, <dd key={`${name} d`}>{String(value)}</dd>])}
      </dl>
    </section>
  );
}

function Counts({ title, counts, link = false }: { title: string; counts: Count[] | undefined; link?: boolean }) {
  if (!counts || counts.length === 0) {
    return null;
  }
  return (
    <section class="group">
      <h2 class="group-title">{title}</h2>
      <dl class="facts num">
        {counts.map(({ name, value }) => [
          <dt key={`${name} t`}>{formatValue(value)}</dt>,
          <dd key={`${name} d`}>{link ? <a href={at(graphLink(`{__name__=${JSON.stringify(name)}}`))}>{name}</a> : name}</dd>,
        ])}
      </dl>
    </section>
  );
}

function runtimeFacts(data: Facts | null): [string, unknown][] {
  return Object.entries(data ?? {}).map(([name, value]) => {
    const timeMs = typeof value === "string" && /time$/i.test(name) ? apiTime(value) : null;
    if (timeMs === null) {
      return [words(name), typeof value === "boolean" ? (value ? "yes" : "no") : value];
    }
    const since = name === "startTime" ? ` (${readableSeconds(Math.round((Date.now() - timeMs) / 1000))})` : "";
    return [words(name), formatTime(timeMs, zone.value) + since];
  });
}

// `reloadConfigSuccess` reads as "reload config success"; names in capitals stay.
function words(name: string): string {
  return /^[A-Z]+$/.test(name) ? name : name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

// An empty head has the extremes of a 64-bit integer as its times.
function momentOf(timeMs: number): string | undefined {
  return Math.abs(timeMs) < 8e15 ? formatTime(timeMs, zone.value) : undefined;
}
