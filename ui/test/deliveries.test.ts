import assert from "node:assert/strict";
import { test } from "node:test";
import { failures } from "../app/api/deliveries";
import type { Delivery } from "../app/api/types";

function delivery(receiver: string, group: string, error: string | null): Delivery {
  const groupLabels = { alertname: group };
  return { time: "2026-01-01T00:00:00Z", receiver, integration: "webhook", groupLabels, alerts: 1, attempts: 1, error };
}

test("only what is still undelivered is a failure", () => {
  assert.deepEqual(failures(null), []);
  assert.deepEqual(failures({ deliveries: null }), []);
  assert.deepEqual(failures({ deliveries: [delivery("a", "x", null)] }), [], "a delivery that went well");
  const newestFirst = [
    delivery("a", "x", null),
    delivery("a", "y", "refused"),
    delivery("a", "x", "refused"),
    delivery("b", "x", "refused"),
  ];
  const found = failures({ deliveries: newestFirst }).map(({ receiver, groupLabels }) => receiver + groupLabels.alertname);
  assert.deepEqual(found, ["ay", "bx"], "a later success settles an earlier failure");
});
