import { readableSeconds } from "./duration";

/** What a number measures, as far as the expression tells. */
export type Unit = "" | "bytes" | "bytes/s" | "seconds" | "ratio" | "percent";

const binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const decimal = ["", "k", "M", "G", "T", "P", "E"];
const small = ["", "m", "µ", "n", "p"];

/** A value for axes, legends and cursors: about four digits, scaled to its unit. */
export function formatValue(value: number | null | undefined, unit: Unit = "", digits = 4): string {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  switch (unit) {
    case "bytes":
      return `${scaled(value, 1024, binary, digits, " ")}B`;
    case "bytes/s":
      return `${scaled(value, 1024, binary, digits, " ")}B/s`;
    case "seconds":
      return Math.abs(value) >= 60 ? readableSeconds(value) : readableSeconds(trimmed(value, digits));
    case "ratio":
      return `${trimmed(value * 100, digits)} %`;
    case "percent":
      return `${trimmed(value, digits)} %`;
    default:
      return scaled(value, 1000, decimal, digits, "");
  }
}

/**
 * The unit that every metric of the expression shares by its name's suffix, or none.
 * Division, multiplication and counting change units, so they end the guess.
 */
export function unitOf(expression: string): Unit {
  const bare = expression
    .replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`/g, "")
    .replace(/\{[^}]*\}/g, "")
    .replace(/\[[^\]]*\]/g, "")
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, "");
  if (/[*/^%]|\b(count|count_values|absent|group|time|timestamp|changes|resets|count_over_time|sgn|bool|deriv)\b/.test(bare)) {
    return "";
  }
  const quantile = /\bhistogram_quantile\b/.test(bare);
  const rated = /\b(rate|irate)\s*\(/.test(bare) && !quantile;
  const units = new Set<Unit>();
  for (const [name] of bare.matchAll(/[A-Za-z_:][\w:]*(?!\s*\()\b(?!\s*\()/g)) {
    if (/^(by|without|on|ignoring|offset|and|or|unless|inf|nan|start|end|group_left|group_right|[smhdwy]|ms)$/i.test(name)) {
      continue;
    }
    units.add(unitOfMetric(name, rated, quantile));
  }
  return units.size === 1 ? [...units][0]! : "";
}

function unitOfMetric(name: string, rated: boolean, quantile: boolean): Unit {
  if (/_(time|timestamp)_seconds$/.test(name)) return "";
  if (quantile) {
    return /_seconds(_bucket)?$/.test(name) ? "seconds" : /_bytes(_bucket)?$/.test(name) ? "bytes" : "";
  }
  if (/_(count|bucket)$/.test(name)) return "";
  const root = name.replace(/_(total|sum)$/, "");
  if (/_bytes$/.test(root) || /_Mem\w+_bytes$/.test(root)) return rated ? "bytes/s" : "bytes";
  // Seconds per second has no unit.
  if (/_seconds$/.test(root)) return rated ? "" : "seconds";
  if (/_ratio$/.test(root)) return rated ? "" : "ratio";
  return "";
}

function scaled(value: number, step: number, names: string[], digits: number, gap: string): string {
  const size = Math.abs(value);
  if (size === 0) return `0${gap}`;
  if (size < 1 && step === 1000) {
    if (size >= 0.001) return String(trimmed(value, digits));
    const power = Math.min(small.length - 1, Math.ceil(-Math.log10(size) / 3 - 1e-9));
    const shown = trimmed(value * 1000 ** power, digits);
    return size < 1e-12 ? value.toExponential(2) : `${shown}${small[power]}`;
  }
  let power = Math.max(0, Math.min(names.length - 1, Math.floor(Math.log(size) / Math.log(step) + 1e-9)));
  // Whole numbers up to 9,999 read better as they are.
  if (step === 1000 && size < 10_000) power = 0;
  const shown = trimmed(value / step ** power, digits);
  return `${shown}${gap}${names[power]}`;
}

function trimmed(value: number, digits: number): number {
  return Number(value.toPrecision(digits));
}
