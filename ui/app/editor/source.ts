import type { PrometheusClient, MetricMetadata } from "@prometheus-io/codemirror-promql/dist/esm/client/prometheus";
import type { Matcher } from "@prometheus-io/codemirror-promql/dist/esm/types";
import { labelMatchersToString } from "@prometheus-io/codemirror-promql/dist/esm/parser/index.js";
import { get } from "../api/client";
import type { Labels } from "../api/types";

/** A list this long is taken to be cut off; longer ones are asked for by what is typed. */
const listLimit = 5000;
/** Answers are asked for again after this time. */
const keepMs = 60_000;
/** Series are looked at this far back. */
const lookbackSeconds = 3600;

/** Names and values for completion, from the server's API, with a bound on every list. */
export class CompletionSource implements PrometheusClient {
  private kept = new Map<string, { at: number; answer: Promise<unknown> }>();

  async metricNames(prefix = ""): Promise<string[]> {
    const all = await this.list("label/__name__/values", {});
    if (all.length < listLimit || prefix === "") {
      return all;
    }
    const pattern = `{__name__=~".*${prefix.replace(/[^\w:]/g, ".")}.*"}`;
    return this.list("label/__name__/values", { "match[]": pattern });
  }

  labelNames(metric?: string): Promise<string[]> {
    return this.list("labels", metric ? { "match[]": metric } : {});
  }

  labelValues(label: string, metric?: string, matchers?: Matcher[]): Promise<string[]> {
    const selector = selectorOf(metric ?? "", matchers ?? [], label);
    return this.list(`label/${encodeURIComponent(label)}/values`, selector ? { "match[]": selector } : {});
  }

  metricMetadata(): Promise<Record<string, MetricMetadata[]>> {
    return this.ask("metadata", { limit_per_metric: "1", limit: String(2 * listLimit) }, {});
  }

  async series(metric: string, matchers?: Matcher[], label?: string): Promise<Map<string, string>[]> {
    const selector = selectorOf(metric, matchers ?? [], label);
    const found = await this.ask<Labels[]>("series", { "match[]": selector || metric, limit: "1000" }, []);
    return found.map((labels) => new Map(Object.entries(labels)));
  }

  flags(): Promise<Record<string, string>> {
    return Promise.resolve({});
  }

  private list(path: string, params: Record<string, string>): Promise<string[]> {
    return this.ask(path, { ...params, limit: String(listLimit) }, []);
  }

  // Completion that fails offers less; the query itself reports what is wrong with the server.
  private ask<T>(path: string, params: Record<string, string>, nothing: T): Promise<T> {
    const key = path + JSON.stringify(params);
    const now = Date.now();
    const kept = this.kept.get(key);
    if (kept && now - kept.at < keepMs) {
      return kept.answer as Promise<T>;
    }
    if (this.kept.size > 200) {
      this.kept.clear();
    }
    const window = path === "metadata" ? {} : { start: String(Math.floor(now / 1000) - lookbackSeconds) };
    const answer = get<T>(path, { ...params, ...window }).then(
      ({ data }) => data ?? nothing,
      () => {
        this.kept.delete(key);
        return nothing;
      },
    );
    this.kept.set(key, { at: now, answer });
    return answer;
  }
}

/** The selector of a metric and the matchers typed so far, without the label being typed. */
function selectorOf(metric: string, matchers: Matcher[], without?: string): string {
  const text = labelMatchersToString(metric, matchers, without);
  return text === "{}" ? "" : text;
}
