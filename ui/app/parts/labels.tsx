import type { Labels } from "../api/types";

/** Label pairs as small boxes; values are text whatever they hold. */
export function LabelList({ labels, without = [] }: { labels: Labels; without?: string[] }) {
  const pairs = Object.entries(labels).filter(([name]) => !without.includes(name));
  return (
    <span class="labels">
      {pairs.map(([name, value]) => (
        <span key={name} class="label">
          <span class="label-name">{name}</span>=<span class="label-value">"{value}"</span>
        </span>
      ))}
    </span>
  );
}
