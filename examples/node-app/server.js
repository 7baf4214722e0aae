// A small web service with the metrics most services begin with: a counter of requests, a
// histogram of their duration, and a gauge of those under way.
import express from 'express';
import client from 'prom-client';

const port = Number(process.env.PORT ?? 3000);
const host = process.env.HOST ?? '127.0.0.1';

client.collectDefaultMetrics();

const requests = new client.Counter({
  name: 'http_requests_total',
  help: 'Requests answered.',
  labelNames: ['method', 'route', 'status_code'],
});
const duration = new client.Histogram({
  name: 'http_request_duration_ms',
  help: 'Time from the first byte of a request to the last byte of its answer, milliseconds.',
  labelNames: ['method', 'route', 'status_code'],
  buckets: [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500],
});
const active = new client.Gauge({
  name: 'active_requests',
  help: 'Requests being answered now.',
});

const app = express();
app.disable('x-powered-by');

app.use((request, response, next) => {
  if (request.path === '/metrics') return next();
  const start = process.hrtime.bigint();
  active.inc();
  // 'close' comes after the answer was sent, and also when the client went away before that.
  response.once('close', () => {
    active.dec();
    const labels = {
      method: request.method,
      // The pattern, not the path: paths that anyone can invent must not become series.
      route: request.route?.path ?? 'unmatched',
      status_code: String(response.statusCode),
    };
    requests.inc(labels);
    duration.observe(labels, Number(process.hrtime.bigint() - start) / 1e6);
  });
  next();
});

app.get('/', (_request, response) => {
  response.type('text').send('Try /user, /cpu and /metrics.\n');
});

// Answers after a short wait, and fails now and then: ERROR_RATIO of the time, or as ?fail says.
app.get('/user', async (request, response) => {
  await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 45));
  const ratio = Number(request.query.fail ?? process.env.ERROR_RATIO ?? 0.02);
  if (Math.random() < ratio) return response.status(500).json({ error: 'the user store is away' });
  response.json({ id: 1, name: 'Ada' });
});

// Keeps the processor busy for about ?ms=50 (at most two seconds).
app.get('/cpu', (request, response) => {
  const wanted = Math.min(Math.max(Number(request.query.ms ?? 50) || 0, 0), 2000);
  const end = performance.now() + wanted;
  let sum = 0;
  while (performance.now() < end) sum += Math.sqrt(Math.random());
  response.json({ busy_ms: wanted, sum });
});

app.get('/metrics', async (_request, response) => {
  response.set('Content-Type', client.register.contentType).send(await client.register.metrics());
});

const server = app.listen(port, host, (error) => {
  if (error) {
    console.error(`cannot listen on ${host}:${port}: ${error.message}`);
    process.exit(1);
  }
  console.log(`http://${host}:${server.address().port}`);
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.close(() => process.exit(0)));
