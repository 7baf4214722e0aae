// Bundles test/*.test.ts for Node and runs them: `npm test`.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "vite";

const out = resolve(".tmp/test");
rmSync(out, { recursive: true, force: true });
const input = readdirSync("test")
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => resolve("test", name));
await build({
  configFile: false,
  logLevel: "warn",
  publicDir: false,
  build: { ssr: true, outDir: out, target: "node20", rollupOptions: { input } },
});
const files = readdirSync(out)
  .filter((name) => name.endsWith(".test.js"))
  .map((name) => join(out, name));
if (files.length === 0) {
  console.error("no tests were found in test/");
  process.exit(1);
}
// Some zone with an odd offset and summer time, so that local is never UTC by chance.
const run = spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit", env: { ...process.env, TZ: "Australia/Adelaide" } });
process.exit(run.status ?? 1);
