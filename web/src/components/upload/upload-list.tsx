import { CircleAlert, CircleCheck, TriangleAlert, X } from "lucide-react";
import { useEffect, useRef } from "react";
import { Link } from "wouter";
import { CopyButton } from "@/components/copy-button";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { type Upload, useUploads } from "@/hooks/uploads";
import { formatBytes } from "@/lib/number";

/** The running and finished uploads, in a corner until the reader dismisses them. */
export function UploadList() {
  const { list, dismiss } = useUploads();
  if (list.length === 0) return null;
  return (
    <section
      aria-label="Uploads"
      aria-live="polite"
      className="fixed bottom-2 left-2 z-30 flex max-h-[60vh] w-96 max-w-[calc(100vw-1rem)] flex-col gap-2 overflow-y-auto"
    >
      {list.map((upload) => (
        <Card key={upload.id} upload={upload} dismiss={() => dismiss(upload.id)} />
      ))}
    </section>
  );
}

// Successful uploads disappear by themselves: the list of sessions has them.
const goodMillis = 8000;

function Card({ upload, dismiss }: { upload: Upload; dismiss: () => void }) {
  const latest = useRef(dismiss);
  useEffect(() => {
    latest.current = dismiss;
  });
  const isGood = upload.state === "done" && upload.warning === undefined;
  useEffect(() => {
    if (!isGood) return;
    const timer = setTimeout(() => latest.current(), goodMillis);
    return () => clearTimeout(timer);
  }, [isGood]);
  return (
    <article className="rounded-md border border-line bg-raised p-3 shadow-lg">
      <div className="flex items-start gap-2">
        <Mark upload={upload} />
        <div className="min-w-0 flex-1">
          <p className="truncate font-medium">
            {upload.sessionId ? (
              <Link
                href={`/sessions/${encodeURIComponent(upload.sessionId)}`}
                className="text-accent hover:underline"
              >
                <SafeText text={upload.name} limit={200} />
              </Link>
            ) : (
              <SafeText text={upload.name} limit={200} />
            )}
          </p>
          <p className="text-xs text-muted">{status(upload)}</p>
        </div>
        <Button
          look="ghost"
          size="smallIcon"
          onClick={dismiss}
          aria-label={upload.state === "sending" ? "Cancel the upload" : "Dismiss"}
        >
          <X size={14} />
        </Button>
      </div>
      {upload.state === "sending" && (
        <progress
          value={upload.progress}
          aria-label="Upload"
          className="mt-2 h-1.5 w-full appearance-none overflow-hidden rounded-full bg-sunken accent-(--color-accent) [&::-webkit-progress-bar]:bg-sunken [&::-webkit-progress-value]:bg-accent"
        />
      )}
      {upload.sha256 && (
        <p className="mt-1 flex items-center gap-1 text-xs text-muted">
          <span className="whitespace-nowrap">SHA-256</span>
          <code className="min-w-0 truncate font-mono text-2xs">{upload.sha256}</code>
          <CopyButton text={upload.sha256} label="Copy the SHA-256" />
        </p>
      )}
      {upload.warning && (
        <p className="mt-1 flex gap-1.5 text-xs text-warn">
          <TriangleAlert size={14} className="mt-px shrink-0" aria-hidden />
          <SafeText text={upload.warning} />
        </p>
      )}
      {upload.error && <p className="mt-1 text-xs break-words text-bad">{upload.error}</p>}
      {upload.importCopy && (
        <Button size="small" className="mt-2" onClick={upload.importCopy}>
          Import as a copy
        </Button>
      )}
    </article>
  );
}

function Mark({ upload }: { upload: Upload }) {
  if (upload.state === "failed")
    return <CircleAlert size={16} className="mt-0.5 text-bad" aria-label="Failed" />;
  if (upload.state === "done")
    return <CircleCheck size={16} className="mt-0.5 text-good" aria-label="Done" />;
  return null;
}

function status(upload: Upload): string {
  const size = formatBytes(upload.sizeBytes);
  if (upload.state === "failed") return `${size}, not stored`;
  if (upload.state === "done") return upload.kind === "target" ? `${size}, stored` : `${size}, imported`;
  if (upload.progress >= 1) return `${size}, being stored…`;
  return `${Math.floor(upload.progress * 100)} % of ${size}`;
}
