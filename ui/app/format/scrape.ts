/** What to look at for an error of a scrape, in one sentence, or null where the error says it all. */
export function explainScrapeError(error: string, url: string): string | null {
  // Our own scraper's messages end with their advice.
  if (/\?\s*$/.test(error)) {
    return null;
  }
  const host = /^\w+:\/\/([^/]+)/.exec(url)?.[1] ?? "the address";
  const known: [RegExp, string][] = [
    [/connection refused/i, `Nothing listens at ${host}: is the service running, and on this port and address?`],
    [/no such host|name or service not known|failed to lookup|dns/i, `The name in ${host} is unknown here: check the spelling and the resolver.`],
    [/no route to host|network is unreachable/i, `There is no way to ${host} from this machine: check the network and the firewall.`],
    [/deadline exceeded|timed? ?out|timeout/i, "The target did not answer in time: it is slow or overloaded, or scrape_timeout is too short."],
    [/status (401|403)|returned .*(401|403)/i, "The target wants credentials: set authorization, basic_auth or tls_config for this job."],
    [/status 404|returned .*404/i, "Nothing is at this path: check metrics_path."],
    [/status 5\d\d|returned .*5\d\d/i, "The target itself failed: its own log says more."],
    [/certificate|x509|tls/i, "The certificate was not accepted: check ca_file, server_name and the dates of the certificate."],
    [/html|unsupported content-?type|content.type|invalid metric|expected (a )?(label|value|metric)|unexpected|parse/i, "The answer is not in a metrics format: is metrics_path right, or is it a web page?"],
    [/body size limit|sample_limit|sample limit|label_limit/i, "A limit of this job was exceeded: the whole scrape is refused until it fits or the limit is raised."],
  ];
  return known.find(([pattern]) => pattern.test(error))?.[1] ?? null;
}
