// Chosen for the smallest difference under simulated protan, deutan and tritan vision and for 3:1 contrast on the
// page; red is kept for firing alerts.
const light = ["#394FD8", "#984B16", "#53A367", "#E758C0", "#402584", "#A568F9", "#700048", "#73548A"];
const dark = ["#6CF6FD", "#F88F4F", "#57B1A0", "#B93780", "#396FC8", "#B180FC", "#F6EAA4", "#9C7C0B"];

// After eight colours the dash tells series apart.
const dashes: number[][] = [[], [6, 3], [2, 3], [10, 3, 2, 3]];

/** How one series is drawn. */
export interface Stroke {
  color: string;
  /** Dash lengths in CSS pixels; empty for a solid line. */
  dash: number[];
}

/** The stroke of the series at `index`. */
export function strokeOf(index: number, isDark: boolean): Stroke {
  const colors = isDark ? dark : light;
  return {
    color: colors[index % colors.length]!,
    dash: dashes[Math.floor(index / colors.length) % dashes.length]!,
  };
}

/** The colours of a chart's own parts. */
export function chartInk(isDark: boolean): { text: string; grid: string; rest: string } {
  return isDark
    ? { text: "#a9b1bd", grid: "rgba(255,255,255,0.08)", rest: "rgba(160,170,185,0.22)" }
    : { text: "#525b68", grid: "rgba(20,30,45,0.09)", rest: "rgba(90,100,115,0.2)" };
}

/** `#rrggbb` with an opacity. */
export function fade(color: string, alpha: number): string {
  const channel = (at: number) => parseInt(color.slice(at, at + 2), 16);
  return `rgba(${channel(1)},${channel(3)},${channel(5)},${alpha})`;
}
