// After `vite build`: keeps the sizes within their budgets, and writes .gz and .br beside each file that shrinks.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const budgetsKb = { shell: 110, editor: 150 };
const dist = process.argv[2] ?? "dist";
const packable = new Set([".js", ".css", ".svg", ".md", ".json"]);

const manifestFile = join(dist, "manifest.json");
const manifest = JSON.parse(readFileSync(manifestFile, "utf8"));
const sizes = { shell: gzipKb(filesOf("index.html")), editor: 0 };
const shell = new Set(filesOf("index.html"));
sizes.editor = gzipKb(filesOf("app/editor/editor.ts").filter((file) => !shell.has(file)));

let over = false;
for (const [name, size] of Object.entries(sizes)) {
  const budget = budgetsKb[name];
  over ||= size > budget;
  console.log(`${name}: ${size.toFixed(1)} KB gzip of ${budget} KB${size > budget ? ": OVER BUDGET" : ""}`);
}
if (over) {
  process.exit(1);
}

// Only the build needs to know which file came from where.
rmSync(manifestFile);
for (const file of walk(dist)) {
  if (packable.has(extname(file))) {
    const plain = readFileSync(file);
    writeSmaller(`${file}.gz`, gzipSync(plain, { level: 9 }), plain.length);
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
    writeSmaller(`${file}.br`, brotliCompressSync(plain, { params }), plain.length);
  }
}
/** The chunk, its stylesheets and everything that it imports at once. */
function filesOf(entry, seen = new Set()) {
  const chunk = manifest[entry];
  if (!chunk) {
    console.error(`the bundle has no entry ${entry}`);
    process.exit(1);
  }
  if (!seen.has(chunk.file)) {
    seen.add(chunk.file);
    (chunk.css ?? []).forEach((file) => seen.add(file));
    (chunk.imports ?? []).forEach((name) => filesOf(name, seen));
  }
  return [...seen];
}

function gzipKb(files) {
  return files.reduce((sum, file) => sum + gzipSync(readFileSync(join(dist, file)), { level: 9 }).length, 0) / 1000;
}

function writeSmaller(file, packed, plainLength) {
  if (packed.length < plainLength) {
    writeFileSync(file, packed);
  }
}

function* walk(folder) {
  for (const name of readdirSync(folder).sort()) {
    const file = join(folder, name);
    if (statSync(file).isDirectory()) {
      yield* walk(file);
    } else {
      yield file;
    }
  }
}
