import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { useLocation } from "preact-iso";
import { at } from "../base";
import { theme, zone, type Theme } from "../state/settings";
import { Icon, type IconName } from "./icons";

const pages: { path: string; name: string; icon: IconName }[] = [
  { path: "query", name: "Query", icon: "query" },
  { path: "alerts", name: "Alerts", icon: "alerts" },
  { path: "targets", name: "Targets", icon: "targets" },
  { path: "status", name: "Status", icon: "status" },
];

const themes: { value: Theme; name: string; icon: IconName }[] = [
  { value: "system", name: "Device colours", icon: "device" },
  { value: "light", name: "Light colours", icon: "sun" },
  { value: "dark", name: "Dark colours", icon: "moon" },
];

const keys: [string, string][] = [
  ["Enter", "run the expressions"],
  ["Shift Enter", "new line in an expression"],
  ["Ctrl Space", "completion"],
  ["Ctrl Shift M", "list of mistakes"],
  ["Drag", "zoom into a graph"],
  ["Shift drag", "move a graph in time"],
  ["Double click", "twice the range"],
  ["← →", "in a graph: move the cursor, with Shift by ten points"],
  ["Click, Ctrl click", "in a legend: one series alone; hide or show one"],
];

/** The rail beside every page. */
export function Shell({ children }: { children: ComponentChildren }) {
  const { path } = useLocation();
  const current = themes.find(({ value }) => value === theme.value) ?? themes[0]!;
  const help = useRef<HTMLDialogElement>(null);
  const next = themes[(themes.indexOf(current) + 1) % themes.length]!;
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={skip}>
        Skip to the page
      </a>
      <nav class="rail" aria-label="Pages">
        <a class="brand" href={at("query")} title="Barograph">
          <img src={at("favicon.svg")} width="24" height="24" alt="" />
          <span class="rail-text">Barograph</span>
        </a>
        {pages.map((page) => {
          const here = path === at(page.path);
          return (
            <a
              key={page.path}
              class="rail-item"
              href={at(page.path)}
              aria-current={here ? "page" : undefined}
              title={page.name}
            >
              <Icon name={page.icon} size={20} />
              <span class="rail-text">{page.name}</span>
            </a>
          );
        })}
        <span class="rail-gap" />
        <button type="button" class="rail-item" title="Keys and mouse" data-testid="help" onClick={() => help.current?.showModal()}>
          <Icon name="unknown" size={20} />
          <span class="rail-small">Keys</span>
        </button>
        <button
          type="button"
          class="rail-item"
          data-testid="zone"
          title={`Times are ${zone.value === "utc" ? "UTC" : "local"}; switch to ${zone.value === "utc" ? "local" : "UTC"}`}
          onClick={() => (zone.value = zone.value === "utc" ? "local" : "utc")}
        >
          <Icon name="clock" size={20} />
          <span class="rail-small">{zone.value === "utc" ? "UTC" : "Local"}</span>
        </button>
        <button
          type="button"
          class="rail-item"
          data-testid="theme"
          title={`${current.name}; switch to ${next.name.toLowerCase()}`}
          onClick={() => (theme.value = next.value)}
        >
          <Icon name={current.icon} size={20} />
          <span class="rail-small">{current.value === "system" ? "Auto" : current.value === "light" ? "Light" : "Dark"}</span>
        </button>
      </nav>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      <dialog ref={help} class="help" aria-labelledby="help-title" onClick={(event) => event.target === help.current && help.current?.close()}>
        <form method="dialog">
          <h2 id="help-title">Keys and mouse</h2>
          <dl>
            {keys.map(([key, meaning]) => [<dt key={`${key} t`}>{key}</dt>, <dd key={`${key} d`}>{meaning}</dd>])}
          </dl>
          <p>
            <a href={at("assets/licences.md")} target="_blank" rel="noreferrer">
              Licences of the parts of this page
            </a>
          </p>
          <button type="submit" class="primary">
            Close
          </button>
        </form>
      </dialog>
    </div>
  );
}

// The page has a <base>, so a bare #main would lead to another address.
function skip(event: Event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
