import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, call, messageOf } from "@/api/client";
import { keys } from "@/api/queries";
import { Clock } from "@/components/clock";
import { Button } from "@/components/ui/button";
import { viewPath } from "@/lib/view";
import { Sentence } from "./sentence";

/** A file or a process. */
type Thing = { path: string; pid?: undefined } | { pid: number; path?: undefined };

/** Why a file or a process exists: who brought it, and who ran it. It asks the backend when the reader asks. */
export function Origin({ sessionId, ...thing }: { sessionId: string } & Thing) {
  const [isOpen, setIsOpen] = useState(false);
  return (
    <div>
      <Button size="small" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
        Why does this exist?
      </Button>
      {isOpen && <Steps sessionId={sessionId} {...thing} />}
    </div>
  );
}

function Steps({ sessionId, path, pid }: { sessionId: string; path?: string; pid?: number }) {
  const origin = useQuery({
    queryKey: keys.of(sessionId, "origin", path ?? pid),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/origin", {
          params: { path: { sessionId }, query: path === undefined ? { pid } : { path } },
          signal,
        }),
      ),
  });
  if (origin.isError) return <p className="mt-1 text-xs text-bad">{messageOf(origin.error)}</p>;
  if (!origin.data) return <p className="mt-1 text-xs text-muted">Loading</p>;
  const { steps, home } = origin.data;
  if (steps.length === 0) {
    return (
      <p className="mt-1 text-xs text-muted">
        The session does not tell: it was there before, or its start was not recorded.
      </p>
    );
  }
  return (
    <ol aria-label="Origin" className="mt-1 text-xs">
      {steps.map((step) => (
        <li
          key={`${step.first_seq} ${step.kind}`}
          className="flex items-baseline gap-2 border-b border-line py-0.5"
        >
          <Link
            href={viewPath(
              sessionId,
              "events",
              new URLSearchParams({ filter: `seq in (${step.seqs.join(", ")})` }).toString(),
            )}
            className="shrink-0 font-mono text-accent tabular-nums hover:underline"
          >
            <Clock at={step.first_at} />
          </Link>
          <span className="min-w-0 wrap-anywhere">
            <Sentence step={step} home={home} />
          </span>
        </li>
      ))}
    </ol>
  );
}
