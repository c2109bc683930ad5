import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { CopyButton } from "@/components/copy-button";
import { DownloadButton } from "@/components/download-button";
import { HexView } from "@/components/hex-view";
import { SafeBlock } from "@/components/safe-block";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { and } from "@/lib/filter";
import { formatBytes, plural } from "@/lib/number";
import { assemble, bytesOf, contentFields, type Stream, textOf } from "./content";

const most = 1000;

/** The contents read from and written to a file, assembled from its first events. */
export function FileContent({
  sessionId,
  path,
  filter,
}: {
  sessionId: string;
  path: string;
  filter: string;
}) {
  const events = useQuery({
    queryKey: keys.of(sessionId, "file-content", path, filter),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/events", {
          params: {
            path: { sessionId },
            query: { filter: and(filter, "type = file_operation"), fields: contentFields, limit: most },
          },
          signal,
        }),
      ),
  });
  const streams = useMemo(() => assemble(events.data?.events ?? []), [events.data]);
  if (events.isPending) return <LoadingState label="Loading the content" />;
  if (!events.data) return <ErrorState error={events.error} retry={() => void events.refetch()} />;
  if (streams.length === 0) return <p className="text-muted">No reads or writes were recorded.</p>;
  return (
    <div className="flex flex-col gap-4">
      {streams.slice(0, 20).map((stream) => (
        <StreamView key={stream.key} stream={stream} path={path} />
      ))}
      {streams.length > 20 && (
        <p className="text-muted">
          {plural(streams.length - 20, "more opening")}; choose a process or span to see fewer.
        </p>
      )}
      {events.data.has_more && (
        <p className="text-muted">
          From the first {most} events with this file. Choose a span to see later ones.
        </p>
      )}
    </div>
  );
}

function StreamView({ stream, path }: { stream: Stream; path: string }) {
  const text = useMemo(() => textOf(stream), [stream]);
  const [asHex, setAsHex] = useState(false);
  const bytes = useMemo(() => bytesOf(stream), [stream]);
  const missing = stream.total - stream.captured;
  return (
    <section>
      <header className="mb-1 flex flex-wrap items-center gap-1 text-xs">
        <span className="min-w-0 flex-1">
          <span className="font-medium">
            {formatBytes(stream.total)} {stream.direction}
          </span>{" "}
          <span className="text-muted">
            by <SafeText text={stream.process ?? "a process"} limit={80} /> {stream.pid} in{" "}
            {plural(stream.calls, "call")}
            {missing > 0 && `; ${formatBytes(missing)} of it not captured`}
          </span>
        </span>
        {text !== undefined && (
          <Button size="small" look="ghost" aria-pressed={asHex} onClick={() => setAsHex(!asHex)}>
            {asHex ? "Text" : "Hex"}
          </Button>
        )}
        {text !== undefined && <CopyButton text={text} label="Copy the content" />}
        <DownloadButton
          bytes={() => bytes}
          name={`${path.split(/[/\\]/).pop() || "content"}.${stream.direction}.bin`}
          label="Save the content"
        />
      </header>
      {bytes.length > 0 &&
        (text === undefined || asHex ? (
          <HexView bytes={bytes} />
        ) : (
          <SafeBlock text={text} className="max-h-80" />
        ))}
    </section>
  );
}
