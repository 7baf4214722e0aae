// Builds `dist` and records which sources it came from, so that build.rs takes it instead of asking for npm.
// The list and the hash are those of build.rs.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";

const sources = readFileSync("build.rs", "utf8")
  .match(/const SOURCES[^=]*= \[([^\]]*)\]/)[1]
  .match(/"[^"]+"/g)
  .map((text) => JSON.parse(text));

const run = spawnSync("npm", ["run", "--silent", "build"], { stdio: "inherit", shell: process.platform === "win32" });
if (run.status !== 0) {
  process.exit(run.status ?? 1);
}
writeFileSync("dist/.source-hash", hashOf(sources.flatMap(files)));

function files(path) {
  return statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => files(`${path}/${name}`)) : [path];
}

/** FNV-1a, 128 bits. */
function hashOf(paths) {
  const mask = (1n << 128n) - 1n;
  let hash = 0x6c62272e07bb014262b821756295c58dn;
  const eat = (bytes) => {
    for (const byte of bytes) {
      hash = ((hash ^ BigInt(byte)) * 0x0000000001000000000000000000013bn) & mask;
    }
  };
  // Bytewise, as Rust sorts.
  for (const path of paths.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    eat(Buffer.from(path));
    eat([0]);
    eat(readFileSync(path));
    eat([0]);
  }
  return hash.toString(16).padStart(32, "0");
}
