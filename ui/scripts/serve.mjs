// Serves a finished build the way the binary does: base path, nonce, policy; /api and /-/ go to a running server.
// `node scripts/serve.mjs [port] [base]`; BAROGRAPH_URL names the server, UI_DIST_DIR the build.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";

const types = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html" };
const pages = new Set(["", "query", "graph", "targets", "alerts", "status"]);

/** Starts it; `intercept(path, request)` may give an own JSON answer. */
export function serve({ port = 0, base = "/", dist = "dist", server, intercept = () => undefined }) {
  const upstream = new URL(server);
  const http = createServer((incoming, reply) => {
    const url = new URL(incoming.url, "http://x");
    if (!url.pathname.startsWith(base)) {
      reply.writeHead(404).end();
      return;
    }
    const path = url.pathname.slice(base.length);
    if (path.startsWith("api/") || path.startsWith("-/")) {
      const own = intercept(path, url);
      if (own !== undefined) {
        reply.writeHead(own.status ?? 200, { "content-type": "application/json" }).end(JSON.stringify(own.body));
        return;
      }
      const { hostname, port: to } = upstream;
      const headers = { ...incoming.headers, host: upstream.host };
      const outgoing = request({ hostname, port: to, path: `/${path}${url.search}`, method: incoming.method, headers }, (answer) => {
        reply.writeHead(answer.statusCode, answer.headers);
        answer.pipe(reply);
      });
      outgoing.on("error", (error) => reply.writeHead(502).end(String(error)));
      incoming.pipe(outgoing);
      return;
    }
    if (pages.has(path)) {
      const nonce = randomBytes(12).toString("base64");
      const page = readFileSync(join(dist, "index.html"), "utf8").replace("__BASE__", base).replace("__NONCE__", nonce);
      reply.writeHead(200, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy":
          `default-src 'none'; script-src 'self'; style-src 'self' 'nonce-${nonce}'; style-src-attr 'none'; ` +
          `img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; ` +
          `require-trusted-types-for 'script'; trusted-types 'none'`,
      });
      reply.end(page);
      return;
    }
    try {
      const file = join(dist, normalize(`/${path}`));
      const body = readFileSync(file);
      reply.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" }).end(body);
    } catch {
      reply.writeHead(404).end();
    }
  });
  return new Promise((resolve) => {
    http.listen(port, "127.0.0.1", () => resolve({ url: `http://127.0.0.1:${http.address().port}${base}`, close: () => http.close() }));
  });
}

if (process.argv[1]?.endsWith("serve.mjs")) {
  const { url } = await serve({
    port: Number(process.argv[2] ?? 0),
    base: process.argv[3] ?? "/",
    dist: process.env.UI_DIST_DIR ?? "dist",
    server: process.env.BAROGRAPH_URL ?? "http://127.0.0.1:9090",
  });
  console.log(url);
}
