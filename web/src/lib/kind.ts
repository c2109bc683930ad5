/** The kinds of events that the dashboard tells apart; what agents name is finer. */
export type Kind = "file" | "process" | "http" | "network" | "packet" | "loss" | "other";

interface KindInfo {
  kind: Kind;
  label: string;
  /** A text color, and the custom property for canvases. */
  text: string;
  color: string;
}

const info = (kind: Kind, label: string): KindInfo => ({
  kind,
  label,
  text: {
    file: "text-file",
    process: "text-process",
    http: "text-http",
    network: "text-network",
    packet: "text-packet",
    loss: "text-loss",
    other: "text-other",
  }[kind],
  color: `--color-${kind}`,
});

export const kinds: Record<Kind, KindInfo> = {
  file: info("file", "Files"),
  process: info("process", "Processes"),
  http: info("http", "HTTP"),
  network: info("network", "Network calls"),
  packet: info("packet", "Packets"),
  loss: info("loss", "Lost"),
  other: info("other", "Other"),
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
  events_lost: "loss",
};

export function kindOf(eventType: string): KindInfo {
  // An event may call itself __proto__ or constructor.
  const kind = Object.hasOwn(byType, eventType) ? byType[eventType] : undefined;
  return kinds[kind ?? "other"];
}

/** The types of a kind that agents are known to send; none for "other". */
export function typesOf(kind: Kind): string[] {
  return Object.keys(byType).filter((type) => byType[type] === kind);
}

/** file_operation → file operation: for people. */
export function typeLabel(eventType: string): string {
  return eventType.replaceAll("_", " ");
}
