import type { AlertState, Health } from "../api/types";
import { Icon, type IconName } from "./icons";

const looks: Record<string, { tone: string; icon: IconName; word: string }> = {
  up: { tone: "good", icon: "up", word: "up" },
  down: { tone: "bad", icon: "down", word: "down" },
  unknown: { tone: "dim", icon: "unknown", word: "unknown" },
  firing: { tone: "bad", icon: "firing", word: "firing" },
  pending: { tone: "warn", icon: "pending", word: "pending" },
  inactive: { tone: "dim", icon: "idle", word: "inactive" },
  recording: { tone: "dim", icon: "query", word: "records" },
  failing: { tone: "bad", icon: "down", word: "failing" },
};

/** A state as icon and word; the colour only repeats it. */
export function State({ state }: { state: Health | AlertState | "recording" | "failing" }) {
  const { tone, icon, word } = looks[state] ?? looks["unknown"]!;
  return (
    <span class={`state ${tone}`}>
      <Icon name={icon} size={14} />
      {word}
    </span>
  );
}
