import { X } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "wouter";
import type { Process } from "@/api/client";
import { CopyButton } from "@/components/copy-button";
import { SafeText } from "@/components/safe-text";
import { Origin } from "@/components/story/origin";
import { Button } from "@/components/ui/button";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { equals } from "@/lib/filter";
import { typeLabel } from "@/lib/kind";
import { formatCount } from "@/lib/number";
import { formatClock, formatDuration, toMicros } from "@/lib/time";
import { viewPath, writeView } from "@/lib/view";
import { Environment } from "./environment";
import { useExit } from "./exit";
import { selectionOf } from "./rows";

/** The details of the chosen process, and links to its events. */
export function ProcessDetail({ sessionId, node }: { sessionId: string; node: Process }) {
  const { zone } = useSettings();
  const { view, change } = useView();
  const exit = useExit(sessionId, node);
  const eventsOf = (type: string) =>
    viewPath(
      sessionId,
      "events",
      writeView(new URLSearchParams(), {
        ...view,
        process: { ...selectionOf(node), alone: true },
        filter: equals("type", type),
        seq: undefined,
      }).toString(),
    );
  return (
    <section
      aria-label="Chosen process"
      className="max-h-[45%] shrink-0 overflow-y-auto border-t border-line-strong bg-surface px-3 py-2"
    >
      <div className="flex items-center gap-2">
        <h2 className="min-w-0 truncate font-semibold">
          <SafeText text={node.name || node.image || "(no name)"} limit={200} />
        </h2>
        <span className="font-mono text-xs text-muted">{node.pid}</span>
        <span className="flex-1" />
        <Button
          look="ghost"
          size="smallIcon"
          aria-label="Show all processes again"
          onClick={() => change({ process: undefined })}
        >
          <X size={14} />
        </Button>
      </div>
      <dl className="mt-1 grid grid-cols-[6.5rem_minmax(0,1fr)] gap-x-3 gap-y-1">
        <Row label="Command line" copy={node.command_line}>
          <SafeText
            text={node.command_line || "unknown"}
            limit={4000}
            className="font-mono text-xs break-all"
          />
        </Row>
        <Row label="Image" copy={node.image}>
          <SafeText text={node.image || "unknown"} limit={2000} className="font-mono text-xs break-all" />
        </Row>
        {/* Above what loads later: a button that moves swallows clicks. */}
        <Row label="Origin">
          <Origin key={node.id} sessionId={sessionId} pid={node.pid} />
        </Row>
        <Row label="Directory">
          <SafeText
            text={exit ? String(exit.directory ?? "unknown") : "…"}
            limit={2000}
            className="font-mono text-xs break-all"
          />
        </Row>
        <Row label="Environment">
          {exit ? <Environment key={node.id} sessionId={sessionId} seq={exit.creation} /> : "…"}
        </Row>
        <Row label="Parent">{node.parent_pid === null ? "unknown" : String(node.parent_pid)}</Row>
        <Row label={node.start_known ? "Started" : "First seen"}>
          {formatClock(node.started_at, zone)}, last seen {formatClock(node.last_seen, zone)} (
          {formatDuration(toMicros(node.last_seen) - toMicros(node.started_at))})
        </Row>
        <Row label="Exit">
          <SafeText text={exit?.exit ?? "…"} limit={80} />
        </Row>
        <Row label="User">
          <SafeText text={exit?.user ?? "…"} limit={80} />
        </Row>
        <Row label="Events">
          <span className="flex flex-wrap gap-x-3">
            {Object.entries(node.event_counts).map(([type, count]) => (
              <Link
                key={type}
                href={eventsOf(type)}
                className="inline-flex min-h-6 items-center gap-1 text-accent hover:underline"
              >
                {formatCount(count)} <SafeText text={typeLabel(type)} limit={60} />
              </Link>
            ))}
          </span>
        </Row>
      </dl>
    </section>
  );
}

function Row({ label, copy, children }: { label: string; copy?: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-xs leading-5 text-muted">{label}</dt>
      <dd className="flex min-w-0 items-start gap-1">
        <span className="min-w-0">{children}</span>
        {copy && <CopyButton text={copy} label={`Copy the ${label.toLowerCase()}`} />}
      </dd>
    </>
  );
}
