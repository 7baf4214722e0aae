const unitsMs: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  y: 365 * 86_400_000,
};

const shape = /^(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$/;

/** Milliseconds of a Prometheus duration such as `1h30m`, or null where the text is none. */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === "" || !shape.test(trimmed)) {
    return null;
  }
  let total = 0;
  for (const [, count, unit] of trimmed.matchAll(/(\d+)(ms|[smhdwy])/g)) {
    total += Number(count) * (unitsMs[unit ?? ""] ?? 0);
  }
  return total > 0 && Number.isSafeInteger(total) ? total : null;
}

/** The Prometheus duration of a whole number of milliseconds, largest units first: `1h30m`. */
export function formatDuration(durationMs: number): string {
  let rest = Math.round(durationMs);
  if (rest <= 0) {
    return "0s";
  }
  let text = "";
  // Years and weeks only where they are exact: `8d`, never `1w1d`.
  for (const unit of ["y", "w"]) {
    const size = unitsMs[unit]!;
    if (rest % size === 0) {
      return text + rest / size + unit;
    }
  }
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const size = unitsMs[unit]!;
    if (rest >= size) {
      text += Math.floor(rest / size) + unit;
      rest %= size;
    }
  }
  return text;
}

/** How long something took or has lasted, in at most two units, for reading: `4.2 ms`, `3 h 10 m`. */
export function readableSeconds(seconds: number): string {
  const sign = seconds < 0 ? "−" : "";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${sign}${short(size * 1e6)} µs`;
  if (size < 1) return `${sign}${short(size * 1e3)} ms`;
  if (size < 60) return `${sign}${short(size)} s`;
  const steps: [number, string][] = [
    [31_536_000, "y"],
    [86_400, "d"],
    [3600, "h"],
    [60, "m"],
    [1, "s"],
  ];
  const first = steps.findIndex(([unit]) => size >= unit);
  const [unit, name] = steps[first]!;
  const next = steps[first + 1];
  const whole = Math.floor(size / unit);
  const more = next ? Math.floor((size - whole * unit) / next[0]) : 0;
  return `${sign}${whole} ${name}${next && more > 0 ? ` ${more} ${next[1]}` : ""}`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
