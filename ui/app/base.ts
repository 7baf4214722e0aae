/** Where the UI is mounted, with both slashes: `/` or `/prefix/`. The page's <base> says so. */
export const base: string = new URL(document.baseURI).pathname.replace(/[^/]*$/, "");

/** The address of a path of the server (no leading slash) under the mount. */
export function at(path: string): string {
  return base + path;
}

/** The nonce that this page's styles must carry, or an empty string where no policy asks for one. */
export function styleNonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.nonce ?? "";
}
