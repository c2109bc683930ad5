import { Download, Globe } from "lucide-react";
import { useMemo } from "react";
import { sessionPath } from "@/api/base";
import { FlowDetail } from "@/components/http/flow-detail";
import { FlowTable } from "@/components/http/flow-table";
import { flowFields, joinSides, pairFlows } from "@/components/http/flows";
import { Split } from "@/components/split";
import { buttonClass } from "@/components/ui/button";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useSessionStream } from "@/hooks/session-stream";
import { useTypedEvents } from "@/hooks/typed-events";
import { useView } from "@/hooks/view";
import { and, equals } from "@/lib/filter";
import { plural } from "@/lib/number";

export default function HTTPView() {
  const { sessionId } = useSessionStream();
  const { view, filter, change } = useView();
  const wanted = and(equals("type", "http_network_operation"), filter);
  const { events, hasMore, error, isPending, fetchMore } = useTypedEvents(sessionId, wanted, flowFields);
  const flows = useMemo(() => joinSides(pairFlows(events)), [events]);
  const chosen = flows.find((flow) =>
    [flow, ...flow.others].some(
      (side) => view.seq !== undefined && (side.requestSeq === view.seq || side.responseSeq === view.seq),
    ),
  );
  if (isPending) return <LoadingState label="Loading the requests" />;
  if (error !== undefined && flows.length === 0) return <ErrorState error={error} retry={fetchMore} />;
  if (flows.length === 0) {
    return (
      <EmptyState
        icon={<Globe size={28} />}
        title={filter === "" ? "No HTTP requests" : "No matching HTTP requests"}
      >
        {filter === ""
          ? "None so far. The agent captures plain HTTP, and what programs send through OpenSSL, GnuTLS, NSS and Go's TLS."
          : "Change the filter, or clear the chosen process and span."}
      </EmptyState>
    );
  }
  return (
    <>
      <div className="flex items-center gap-3 border-b border-line px-3 py-1">
        <span className="flex-1 text-xs text-muted">
          {plural(flows.length, "request")}
          {hasMore && " so far; more are loaded as you scroll"}
        </span>
        <a
          href={sessionPath(sessionId, `/export?format=har&filter=${encodeURIComponent(wanted)}`)}
          download
          className={buttonClass({ size: "small" })}
        >
          <Download size={13} aria-hidden /> HAR
        </a>
      </div>
      <Split
        pane={
          chosen && (
            <FlowDetail
              key={chosen.seq}
              sessionId={sessionId}
              exchange={chosen}
              onClose={() => change({ seq: undefined })}
            />
          )
        }
      >
        <FlowTable
          flows={flows}
          chosen={chosen}
          onChoose={(flow) => change({ seq: flow?.seq })}
          onEnd={hasMore ? fetchMore : nothing}
        />
      </Split>
    </>
  );
}

const nothing = () => {};
