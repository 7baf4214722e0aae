const paths = {
  query: "M3 17l5-7 4 4 5-8 4 5M3 21h18",
  targets: "M12 3a9 9 0 100 18 9 9 0 000-18zm0 5a4 4 0 100 8 4 4 0 000-8zM12 12h.01",
  alerts: "M6 16V11a6 6 0 1112 0v5l2 2H4zM10 21h4",
  status: "M4 5h16v5H4zM4 14h16v5H4zM7.5 7.5h.01M7.5 16.5h.01",
  up: "M5 12.5l4.5 4.5L19 7.5",
  down: "M6 6l12 12M18 6L6 18",
  unknown: "M9 9a3 3 0 114.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5h.01",
  pending: "M12 7v5l3 2M12 3a9 9 0 100 18 9 9 0 000-18z",
  firing: "M12 3L2 20h20zM12 10v4M12 17h.01",
  idle: "M6 12h12",
  info: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 11v6M12 7.5h.01",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  out: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5M8 11h6",
  link: "M10 14a4 4 0 006 .4l3-3a4 4 0 00-5.7-5.7L12 7M14 10a4 4 0 00-6-.4l-3 3a4 4 0 005.7 5.7L12 17",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19",
  moon: "M20 14.5A8 8 0 119.5 4a6.5 6.5 0 0010.5 10.5z",
  device: "M3 5h18v11H3zM9 20h6M12 16v4",
  clock: "M12 7v5l3 2M12 3a9 9 0 100 18 9 9 0 000-18z",
  more: "M6 9l6 6 6-6",
  search: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5",
};

export type IconName = keyof typeof paths;

/** A line drawing beside a word that says the same. */
export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true">
      <path
        d={paths[name]}
        fill="none"
        stroke="currentColor"
        stroke-width="1.8"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
