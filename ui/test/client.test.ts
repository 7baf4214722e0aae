import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

// The client asks the page where it is mounted.
Object.assign(globalThis, {
  document: { baseURI: "http://localhost:9090/prefix/" },
  location: { host: "localhost:9090" },
});
const { ApiError, get, post } = await import("../app/api/client");
const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

function answer(body: string, status = 200): { asked: [string, RequestInit][] } {
  const asked: [string, RequestInit][] = [];
  globalThis.fetch = (url, init) => {
    asked.push([String(url), init ?? {}]);
    return Promise.resolve(new Response(body, { status }));
  };
  return { asked };
}

test("requests go under the mount, lists repeat their name", async () => {
  const { asked } = answer('{"status":"success","data":[1],"warnings":["w"]}');
  const reply = await get("labels", { "match[]": ["a", "b c"], none: undefined });
  assert.deepEqual(reply, { data: [1], warnings: ["w"], infos: [] });
  assert.equal(asked[0]![0], "/prefix/api/v1/labels?match%5B%5D=a&match%5B%5D=b+c");
  await post("query", { query: "up", time: 5 });
  assert.equal(asked[1]![1].method, "POST");
  assert.equal(String(asked[1]![1].body), "query=up&time=5");
});

test("the server's error keeps its kind and words", async () => {
  answer('{"status":"error","errorType":"bad_data","error":"1:1: parse error: no"}', 400);
  await assert.rejects(get("query"), (error: unknown) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.kind, error.message, error.status], ["bad_data", "1:1: parse error: no", 400]);
    return true;
  });
});

test("an answer that is no envelope says what came", async () => {
  answer("<html>bad gateway", 502);
  await assert.rejects(get("rules"), /api\/v1\/rules answered 502.*without JSON/);
  answer('{"data":1}', 200);
  await assert.rejects(get("rules"), /without a reason/);
});

test("no answer at all names the server", async () => {
  globalThis.fetch = () => Promise.reject(new TypeError("fetch failed"));
  await assert.rejects(get("rules"), /no answer from localhost:9090/);
});

test("a cancelled request is told apart", async () => {
  const stop = new AbortController();
  stop.abort();
  globalThis.fetch = () => Promise.reject(new DOMException("aborted", "AbortError"));
  await assert.rejects(get("rules", {}, stop.signal), (error: unknown) => error instanceof ApiError && error.kind === "aborted");
});
