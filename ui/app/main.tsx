import { render } from "preact";
import { useEffect } from "preact/hooks";
import { ErrorBoundary, LocationProvider, Route, Router, useLocation } from "preact-iso";
import "./style/base.css";
import "./style/shell.css";
import "./style/query.css";
import "./style/lists.css";
import { at, base } from "./base";
import { Shell } from "./parts/shell";
import { AlertsPage } from "./pages/alerts";
import { QueryPage } from "./pages/query";
import { StatusPage } from "./pages/status";
import { TargetsPage } from "./pages/targets";
import { startSettings } from "./state/settings";

/** Where the pages of older and of other servers' links are now. */
const moved: Record<string, string> = {
  "": "query",
  graph: "query",
  rules: "alerts",
  "service-discovery": "targets",
  "tsdb-status": "status",
  flags: "status",
  config: "status",
};

function Moved({ to }: { to: string }) {
  const { route } = useLocation();
  useEffect(() => route(at(to) + location.search, true), []);
  return null;
}

function Missing() {
  return (
    <div class="page">
      <h1>No such page</h1>
      <p>
        Nothing lives at <code>{location.pathname}</code>. <a href={at("query")}>Go to the queries</a>.
      </p>
    </div>
  );
}

// The server's own addresses must not be caught by the router.
const scope = new RegExp(`^${base.replace(/[^\w/-]/g, "\\$&")}(query|targets|alerts|status|${Object.keys(moved).filter(Boolean).join("|")})?(\\?|$)`);

startSettings();
render(
  <LocationProvider scope={scope}>
    <Shell>
      <ErrorBoundary>
        <Router>
          <Route path={at("query")} component={QueryPage} />
          <Route path={at("targets")} component={TargetsPage} />
          <Route path={at("alerts")} component={AlertsPage} />
          <Route path={at("status")} component={StatusPage} />
          {Object.entries(moved).map(([from, to]) => (
            <Route key={from} path={at(from)} component={() => <Moved to={to} />} />
          ))}
          <Route default component={Missing} />
        </Router>
      </ErrorBoundary>
    </Shell>
  </LocationProvider>,
  document.getElementById("app")!,
);
