import { effect, signal } from "@preact/signals";
import type { Zone } from "../format/time";

export type Theme = "system" | "light" | "dark";

const stored = read();

/** The chosen colours; `system` follows the device. */
export const theme = signal<Theme>(oneOf(stored.theme, ["system", "light", "dark"]) ?? "system");

/** How times are shown. */
export const zone = signal<Zone>(oneOf(stored.zone, ["local", "utc"]) ?? "local");

const darkDevice = matchMedia("(prefers-color-scheme: dark)");

/** Whether dark colours are in force now. */
export const dark = signal(false);

/** Applies the settings to the page and keeps them for the next visit. */
export function startSettings(): void {
  const resolve = () => {
    dark.value = theme.value === "dark" || (theme.value === "system" && darkDevice.matches);
  };
  darkDevice.addEventListener("change", resolve);
  effect(() => {
    resolve();
    document.documentElement.dataset.theme = theme.value;
  });
  effect(() => {
    const text = JSON.stringify({ theme: theme.value, zone: zone.value });
    try {
      localStorage.setItem("barograph", text);
    } catch {
      // Storage may be forbidden; settings then last as long as the page.
    }
  });
}

function read(): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(localStorage.getItem("barograph") ?? "{}");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function oneOf<T extends string>(value: unknown, choices: T[]): T | undefined {
  return choices.find((choice) => choice === value);
}
