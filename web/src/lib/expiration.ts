import { formatCount, plural } from "./number";

interface Expiration {
  whole: boolean;
  events: number;
  first_seq: number;
  last_seq: number;
  rule: string;
  setting: string;
}

/** The rule by which something expired: "RETAIN_DAYS=30", or "a user's request". */
export function ruleText({ rule, setting }: Pick<Expiration, "rule" | "setting">): string {
  return rule === "user" ? "a user's request" : `${rule}=${setting}`;
}

/** The expired events of a record: "events 1 to 40,960", "1 event" or "no events". */
export function expiredEvents({ whole, events, first_seq, last_seq }: Expiration): string {
  if (events === 0) return "no events";
  return whole ? plural(events, "event") : `events ${formatCount(first_seq)} to ${formatCount(last_seq)}`;
}
