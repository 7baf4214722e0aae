import { defineConfig } from "vite";

// Where `npm run dev` finds a running server.
const server = process.env.BAROGRAPH_URL ?? "http://127.0.0.1:9090";

export default defineConfig({
  // Relative, because the page's <base> says where the UI is mounted.
  base: "./",
  plugins: [
    {
      name: "page-marks",
      apply: "serve",
      // The binary fills these in; without it the page is mounted at the root, under no policy.
      transformIndexHtml: (page) => page.replace("__BASE__", "/").replace("__NONCE__", ""),
    },
  ],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // light-dark() must reach the browser as written.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    manifest: "manifest.json",
    license: { fileName: "assets/licences.md" },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/-/", "/render"].map((path) => [path, { target: server, changeOrigin: true }]),
    ),
  },
});
