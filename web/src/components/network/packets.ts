import type { ListedEvent } from "@/api/client";
import { bytesFromHex } from "@/lib/bytes";

/** The requested fields of packets and calls. */
export const packetFields = [
  "data.protocol",
  "data.src",
  "data.dst",
  "data.src_port",
  "data.dst_port",
  "data.length",
  "data.info_raw",
  "data.info",
  "data.content",
  "data.bytesTransferred",
  "data.error",
  "data.dns",
].join(",");

/** A packet or a call of a conversation, as a row. */
export interface PacketRow {
  seq: number;
  timestamp: string;
  /** The protocol of a packet, or the operation of a call. */
  what: string;
  from: string;
  to: string;
  bytes: number | undefined;
  info: string;
  /** The first bytes, if they were captured. */
  content: Uint8Array | undefined;
}

type Fields = Record<string, unknown>;
const text = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" && value >= 0 ? value : undefined);

export function packetRow(event: ListedEvent): PacketRow {
  const fields = (event.fields ?? {}) as Fields;
  const field = (name: string) => fields[`data.${name}`];
  const isPacket = event.event_type === "raw_network_operation";
  const end = (host: unknown, port: unknown) =>
    [text(host), number(port)].filter((part) => part !== "" && part !== undefined).join(":");
  const content = bytesFromHex(text(field("content")));
  // ICMP has no ports. Those in the event are of the packet that it reports on.
  const isICMP = isPacket && /^ICMP/.test(text(field("protocol")));
  const ends = isICMP
    ? [text(field("src")), text(field("dst"))]
    : [end(field("src"), field("src_port")), end(field("dst"), field("dst_port"))];
  const quoted = isICMP && number(field("src_port")) !== undefined && number(field("dst_port")) !== undefined;
  // The dst of a call is the remote end, even if the call receives.
  if (!isPacket && /^(receive|recv|accept)/i.test(event.operation ?? "")) ends.reverse();
  return {
    seq: event.seq,
    timestamp: event.timestamp,
    what: isPacket ? text(field("protocol")) || "packet" : (event.operation ?? "call"),
    from: ends[0] ?? "",
    to: ends[1] || (isPacket ? "" : (event.target ?? "")),
    bytes: number(field(isPacket ? "length" : "bytesTransferred")),
    info: quoted
      ? `${infoOf(field)}: ${number(field("src_port"))} → ${number(field("dst_port"))}`
      : isPacket
        ? infoOf(field)
        : [text(field("error")), dnsText(field("dns"))].filter(Boolean).join(" "),
    content: content && content.length > 0 ? content : undefined,
  };
}

/** The tshark summary of a packet; if the agent sent it only as hex, decoded. */
function infoOf(field: (name: string) => unknown): string {
  const raw = text(field("info_raw"));
  if (raw !== "") return raw;
  const bytes = bytesFromHex(text(field("info")));
  return bytes ? new TextDecoder().decode(bytes) : text(field("info"));
}

interface DNSRecord {
  name?: unknown;
  type?: unknown;
  data?: unknown;
}

/** Formats each DNS message as a line: A example.com, or A example.com → 192.0.2.7. */
export function dnsText(value: unknown): string {
  if (!Array.isArray(value)) return "";
  return value
    .map((message: { questions?: DNSRecord[]; answers?: DNSRecord[]; code?: unknown }) => {
      const questions = Array.isArray(message?.questions) ? message.questions : [];
      const answers = Array.isArray(message?.answers) ? message.answers : [];
      const asked = questions.map((q) => `${text(q?.type)} ${text(q?.name)}`).join(", ");
      const answered = answers.map((a) => text(a?.data)).filter(Boolean);
      const code = text(message?.code);
      if (answered.length > 0) return `${asked} → ${answered.join(", ")}`;
      return code !== "" && code !== "NOERROR" ? `${asked} → ${code}` : asked;
    })
    .join("; ");
}
