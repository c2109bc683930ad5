import { X } from "lucide-react";
import { Link } from "wouter";
import type { components } from "@/api/schema";
import { CopyButton } from "@/components/copy-button";
import { SafeText } from "@/components/safe-text";
import { Pane } from "@/components/split";
import { Origin } from "@/components/story/origin";
import { Button } from "@/components/ui/button";
import { useSettings } from "@/hooks/settings";
import { useView } from "@/hooks/view";
import { and, equals } from "@/lib/filter";
import { plural } from "@/lib/number";
import { formatClock } from "@/lib/time";
import { viewPath, writeView } from "@/lib/view";
import { FileContent } from "./file-content";
import { FileProcesses } from "./file-processes";

export type FileSummary = components["schemas"]["FileSummary"];

/** The details of a file: which processes used it and how, and the contents that they read and wrote. */
export function FileDetail({
  sessionId,
  file,
  onClose,
}: {
  sessionId: string;
  file: FileSummary;
  onClose: () => void;
}) {
  const { zone } = useSettings();
  const { view, filter } = useView();
  const mine = and(filter, equals("target", file.path));
  const events = viewPath(
    sessionId,
    "events",
    writeView(new URLSearchParams(), {
      ...view,
      filter: and(view.filter, equals("target", file.path)),
      seq: undefined,
    }).toString(),
  );
  return (
    <Pane label="File">
      <header className="flex items-center gap-1 border-b border-line px-3 py-1.5">
        <h2 className="min-w-0 flex-1 font-mono text-xs break-all">
          <SafeText text={file.path} limit={1000} />
        </h2>
        <CopyButton text={file.path} label="Copy the path" />
        <Button look="ghost" size="smallIcon" aria-label="Close" onClick={onClose}>
          <X size={14} />
        </Button>
      </header>
      <div className="flex min-h-0 flex-1 flex-col gap-4 overflow-y-auto p-3">
        <section className="text-xs text-muted">
          <p>
            First {formatClock(file.first_at, zone)}, last {formatClock(file.last_at, zone)}
            {file.failed > 0 && `; ${plural(file.failed, "call")} failed`}
          </p>
          {file.renamed_to !== null && (
            <p className="break-all">
              Renamed to <SafeText text={file.renamed_to} limit={1000} className="font-mono text-ink" />
            </p>
          )}
          <p className="mt-1">
            <Link href={events} className="inline-flex min-h-6 items-center text-accent hover:underline">
              Show events
            </Link>
          </p>
        </section>
        <Origin key={file.path} sessionId={sessionId} path={file.path} />
        <FileProcesses sessionId={sessionId} file={file} filter={mine} />
        <section>
          <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">Content</h3>
          <FileContent sessionId={sessionId} path={file.path} filter={mine} />
        </section>
      </div>
    </Pane>
  );
}
