// Asks the service in this machine for a while, so that there is something to see:
//   node load.js [seconds=120] [requests per second=20] [fail ratio]
const [seconds = 120, perSecond = 20, fail] = process.argv.slice(2).map(Number);
const base = `http://127.0.0.1:${process.env.PORT ?? 3000}`;
const end = Date.now() + Math.min(seconds, 3600) * 1000;
let sent = 0;
let failed = 0;

while (Date.now() < end) {
  const path = sent % 10 === 9 ? '/cpu?ms=30' : `/user${Number.isFinite(fail) ? `?fail=${fail}` : ''}`;
  fetch(base + path)
    .then((answer) => answer.arrayBuffer().then(() => answer.ok || failed++))
    .catch(() => failed++);
  sent++;
  await new Promise((resolve) => setTimeout(resolve, 1000 / Math.min(perSecond, 1000)));
}
console.log(`${sent} requests, ${failed} failed`);
