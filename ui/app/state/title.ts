import { useEffect } from "preact/hooks";

// The server may give its pages a name of its own.
const site = document.title || "Barograph";

/** Names the tab after what the page shows. */
export function useTitle(text: string): void {
  useEffect(() => {
    document.title = `${text} · ${site}`;
  }, [text]);
}
