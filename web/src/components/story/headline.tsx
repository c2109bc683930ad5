import { Link } from "wouter";
import type { SessionDetail } from "@/api/client";
import type { components } from "@/api/schema";
import { formatCount, plural } from "@/lib/number";
import { endText, monitoredMicros } from "@/lib/session";
import { formatDuration } from "@/lib/time";
import { viewPath } from "@/lib/view";

type Counts = components["schemas"]["StoryCounts"];
type Count = components["schemas"]["StoryCount"];

interface Phrase {
  text: string;
  /** The events that the phrase is about. */
  seqs?: readonly number[];
  look?: "bad";
}

/** What a session amounts to, in one line. Each phrase leads to its events. */
export function Headline({ session, counts }: { session: SessionDetail; counts: Counts }) {
  return (
    <ul aria-label="In short" className="flex flex-wrap gap-y-1 text-sm">
      {phrasesOf(session, counts).map(({ text, seqs, look }) => (
        <li key={text} className="after:mx-2 after:text-muted after:content-['·'] last:after:hidden">
          {seqs?.length ? (
            <Link
              href={viewPath(
                session.id,
                "events",
                new URLSearchParams({ filter: `seq in (${seqs.join(", ")})` }).toString(),
              )}
              className={`underline decoration-line underline-offset-2 hover:decoration-current ${look === "bad" ? "font-semibold text-bad" : ""}`}
            >
              {text}
            </Link>
          ) : (
            text
          )}
        </li>
      ))}
    </ul>
  );
}

/** The phrases that apply to a session. */
export function phrasesOf(session: SessionDetail, counts: Counts): Phrase[] {
  const micros = monitoredMicros(session);
  const end = session.end ? `, ${lower(endText(session.end))}` : "";
  const verb = session.state === "active" ? "Has run" : "Ran";
  const all: (Phrase | false)[] = [
    micros !== undefined && { text: `${verb} ${formatDuration(micros)}${end}` },
    // An agent that watches programs which run already may see none start.
    counts.processes > 0 && { text: plural(counts.processes, "process started", "processes started") },
    told(counts.downloaded_and_run, (n) => `${plural(n, "program")} downloaded and run`, "bad"),
    told(counts.startup_changes, (n) => `${plural(n, "start-up file")} changed`, "bad"),
    told(counts.secrets_read, (n) => `${plural(n, "secret")} read`, "bad"),
    told(counts.secrets_refused, (n) => `${plural(n, "secret")} refused`, "bad"),
    told(counts.destinations, (n) => plural(n, "destination")),
    told(
      counts.own_deletions,
      (n) => (n === 1 ? "deleted itself" : `${formatCount(n)} deleted themselves`),
      "bad",
    ),
  ];
  return all.filter((phrase) => phrase !== false);
}

function told({ count, seqs }: Count, text: (n: number) => string, look?: "bad"): Phrase | false {
  return count > 0 && { text: text(count), seqs, look };
}

function lower(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
