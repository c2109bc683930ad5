/** A group of event types with a color of its own. "monitor" has the events about the monitoring itself. */
export type Kind = "file" | "process" | "http" | "network" | "packet" | "monitor" | "loss" | "other";

interface KindInfo {
  kind: Kind;
  label: string;
  /** One letter, different for each kind. */
  letter: string;
  /** A text color, and the custom property for canvases. */
  text: string;
  color: string;
}

const info = (kind: Kind, label: string, letter: string): KindInfo => ({
  kind,
  label,
  letter,
  text: {
    file: "text-file",
    process: "text-process",
    http: "text-http",
    network: "text-network",
    packet: "text-packet",
    monitor: "text-monitor",
    loss: "text-loss",
    other: "text-other",
  }[kind],
  color: `--color-${kind}`,
});

export const kinds: Record<Kind, KindInfo> = {
  file: info("file", "Files", "F"),
  process: info("process", "Processes", "P"),
  http: info("http", "HTTP", "H"),
  network: info("network", "Network calls", "N"),
  packet: info("packet", "Packets", "K"),
  monitor: info("monitor", "Monitoring", "M"),
  loss: info("loss", "Lost", "!"),
  other: info("other", "Other", "·"),
};

const byType: Record<string, Kind> = {
  file_operation: "file",
  process_creation: "process",
  process_fork: "process",
  process_exit: "process",
  thread_creation: "process",
  process_operation: "process",
  http_network_operation: "http",
  network_operation: "network",
  raw_network_operation: "packet",
  session_start: "monitor",
  session_end: "monitor",
  clock_step: "monitor",
  exclusions_changed: "monitor",
  program_paused: "monitor",
  events_left_out: "monitor",
  tls_unseen: "monitor",
  events_lost: "loss",
};

export function kindOf(eventType: string): KindInfo {
  // The type of an event may be __proto__ or constructor.
  const kind = Object.hasOwn(byType, eventType) ? byType[eventType] : undefined;
  return kinds[kind ?? "other"];
}

/** The known types of a kind; none for "other". */
export function typesOf(kind: Kind): string[] {
  return Object.keys(byType).filter((type) => byType[type] === kind);
}

/** Returns the type with spaces: file_operation becomes "file operation". */
export function typeLabel(eventType: string): string {
  return eventType.replaceAll("_", " ");
}

/** Like typeLabel, without the word "operation" that most types end in. */
export function shortTypeLabel(eventType: string): string {
  return typeLabel(eventType).replace(/ operation$/, "");
}
