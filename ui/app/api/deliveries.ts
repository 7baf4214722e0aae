import type { Delivery } from "./types";

const shownFailures = 5;

/**
 * What could not be delivered and still has not been: of the deliveries, newest first, the latest to
 * each receiver for each group of alerts, where it failed. Prometheus keeps none; then there is
 * nothing to say.
 */
export function failures(data: { deliveries?: Delivery[] | null } | null): Delivery[] {
  const seen = new Set<string>();
  const failed: Delivery[] = [];
  for (const delivery of data?.deliveries ?? []) {
    const labels = Object.entries(delivery.groupLabels).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([delivery.integration, delivery.receiver, labels]);
    if (!seen.has(key) && delivery.error) failed.push(delivery);
    seen.add(key);
  }
  return failed.slice(0, shownFailures);
}
