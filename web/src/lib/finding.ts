import { formatCount } from "./number";

/** Where the paths of a finding are, if its processes have another root than the machine; "" otherwise. */
export function rootText(rootPath: string | null): string {
  if (rootPath === null) return "";
  return rootPath === "/" ? "in another mount namespace" : `in the root ${rootPath}`;
}

/** The same as a sentence. */
export const rootSentence =
  "All of these processes have another root directory or mount namespace than the agent, such as a container or a jail. Their paths are not those of the machine, unless the same files are mounted there.";

interface Counts {
  /** The number of events that match. */
  events: number;
  /** How many of them failed. */
  failed_count: number;
}

/** "Attempt failed" if all events of a finding failed, "2 of 5 failed" if some did, or "". */
export function failedText({ events, failed_count }: Counts): string {
  if (!(failed_count > 0)) return "";
  return failed_count === events
    ? "Attempt failed"
    : `${formatCount(failed_count)} of ${formatCount(events)} failed`;
}

/** The same as a sentence. */
export function failedSentence({ events, failed_count }: Counts): string {
  const why = "failed, for example with permission denied";
  if (events === 1) return `The matching event ${why}.`;
  return failed_count === events
    ? `All ${formatCount(events)} matching events ${why}.`
    : `${formatCount(failed_count)} of ${formatCount(events)} matching events ${why}.`;
}
