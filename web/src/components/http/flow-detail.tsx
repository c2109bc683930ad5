import { useQuery } from "@tanstack/react-query";
import { X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import { api, call } from "@/api/client";
import { keys } from "@/api/queries";
import { CopyButton } from "@/components/copy-button";
import { SafeText } from "@/components/safe-text";
import { Pane } from "@/components/split";
import { Button } from "@/components/ui/button";
import { ErrorState, LoadingState } from "@/components/ui/state";
import { useView } from "@/hooks/view";
import { formatDuration } from "@/lib/time";
import { viewPath, writeView } from "@/lib/view";
import { BodyView } from "./body-view";
import { curlCommand } from "./curl";
import { curlOf, type Exchange as Messages, queryOf, readExchange } from "./exchange";
import { processText } from "./flow-table";
import type { Exchange, Flow } from "./flows";
import { Pairs } from "./pairs";

const tabs = ["Headers", "Query", "Request", "Response"] as const;
type Tab = (typeof tabs)[number];

const sideNames = { client: "Client", server: "Server", proxy: "Proxy" };

/** The details of a request and its response, as each side saw them. */
export function FlowDetail({
  sessionId,
  exchange: { others, ...first },
  onClose,
}: {
  sessionId: string;
  exchange: Exchange;
  onClose: () => void;
}) {
  const [chosen, setChosen] = useState<Tab>("Headers");
  const sides = [first, ...others];
  const [side, setSide] = useState(0);
  const flow = sides[side] ?? first;
  const event = useQuery({
    queryKey: keys.of(sessionId, "event", flow.seq),
    queryFn: ({ signal }) =>
      call(
        api.GET("/api/sessions/{sessionId}/events/{seq}", {
          params: { path: { sessionId, seq: flow.seq } },
          signal,
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const exchange = event.data && readExchange(event.data.data);
  const query = exchange ? queryOf(exchange.url) : [];
  const has: Record<Tab, boolean> = {
    Headers: true,
    Query: query.length > 0,
    Request: exchange?.request.body !== undefined,
    Response: exchange?.response?.body !== undefined,
  };
  const tab = has[chosen] ? chosen : "Headers";
  return (
    <Pane label="Request">
      <header className="flex items-center gap-2 border-b border-line px-3 py-1.5">
        <h2 className="min-w-0 flex-1 truncate font-mono text-xs">
          <span className="font-semibold">
            <SafeText text={flow.method} limit={40} />
          </span>{" "}
          <SafeText text={flow.url} limit={300} />
        </h2>
        {exchange && (
          <CopyButton text={() => curlCommand(curlOf(exchange))} label="Copy as a command for curl" />
        )}
        <Button look="ghost" size="smallIcon" aria-label="Close" onClick={onClose}>
          <X size={14} />
        </Button>
      </header>
      {sides.length > 1 && (
        <fieldset className="flex flex-wrap items-center gap-0.5 border-b border-line px-2 py-1 text-xs">
          <legend className="sr-only">Seen by</legend>
          <span className="mr-1 text-muted">Seen by</span>
          {sides.map((each, index) => (
            <Button
              key={each.side}
              size="small"
              look={index === side ? "plain" : "ghost"}
              aria-pressed={index === side}
              onClick={() => setSide(index)}
            >
              {sideNames[each.side]} <SafeText text={processText(each)} limit={60} />
            </Button>
          ))}
        </fieldset>
      )}
      <div role="tablist" aria-label="Parts" className="flex gap-0.5 border-b border-line px-2 py-1">
        {tabs.map((name) => (
          <Button
            key={name}
            role="tab"
            size="small"
            look={name === tab ? "plain" : "ghost"}
            aria-selected={name === tab}
            disabled={!has[name]}
            onClick={() => setChosen(name)}
          >
            {name === "Query" && query.length > 0 ? `Query (${query.length})` : name}
          </Button>
        ))}
      </div>
      <div role="tabpanel" aria-label={tab} className="min-h-0 flex-1 overflow-y-auto p-3">
        {event.isPending && <LoadingState />}
        {event.isError && <ErrorState error={event.error} retry={() => void event.refetch()} />}
        {event.data && !exchange && (
          <p className="text-muted">This event contains no request. Open it in the Events view.</p>
        )}
        {exchange && tab === "Headers" && <Headers sessionId={sessionId} flow={flow} exchange={exchange} />}
        {tab === "Query" && <Pairs pairs={query} />}
        {tab === "Request" && exchange?.request.body && (
          <BodyView key="request" body={exchange.request.body} name={fileOf(flow, "request")} />
        )}
        {tab === "Response" && exchange?.response?.body && (
          <BodyView key="response" body={exchange.response.body} name={fileOf(flow, "response")} />
        )}
      </div>
    </Pane>
  );
}

/** The name of a saved body: the last part of the path, with an extension that no program runs. */
function fileOf(flow: Flow, what: string): string {
  const last = flow.path.split(/[?#]/)[0]?.split("/").pop();
  return `${last || flow.host || "body"}.${what}-${flow.seq}.bin`;
}

function Headers({ sessionId, flow, exchange }: { sessionId: string; flow: Flow; exchange: Messages }) {
  const { view } = useView();
  const asEvent = (seq: number) =>
    viewPath(sessionId, "events", writeView(new URLSearchParams(), { ...view, seq }).toString());
  const { response } = exchange;
  const facts: [string, string][] = [
    ["URL", exchange.url],
    ["Scheme", flow.scheme],
    ["Port", flow.port === undefined ? "" : String(flow.port)],
    ["Method", exchange.method],
    ["Status", response ? `${response.status} ${response.reason}`.trim() : "no response was captured"],
    ["Version", [exchange.request.version, response?.version].filter(Boolean).join(" → ")],
    ["Client", flow.client.replace(" ", ":")],
    ["Server", exchange.server],
    ["Process", flow.pid === null ? "" : `${flow.process ?? ""} (${flow.pid})`],
    ["Duration", flow.micros === undefined ? "" : formatDuration(flow.micros)],
  ];
  return (
    <div className="flex flex-col gap-4">
      <Section title="Summary">
        <Pairs pairs={facts.filter(([, value]) => value !== "")} />
        <p className="mt-1.5 flex gap-3 text-xs">
          {flow.requestSeq !== undefined && (
            <Link
              href={asEvent(flow.requestSeq)}
              className="inline-flex min-h-6 items-center text-accent hover:underline"
            >
              Event {flow.requestSeq} (request)
            </Link>
          )}
          {flow.responseSeq !== undefined && (
            <Link
              href={asEvent(flow.responseSeq)}
              className="inline-flex min-h-6 items-center text-accent hover:underline"
            >
              Event {flow.responseSeq} (response)
            </Link>
          )}
        </p>
      </Section>
      {response && (
        <Section title="Response headers">
          <Pairs pairs={response.headers} />
        </Section>
      )}
      <Section title="Request headers">
        <Pairs pairs={exchange.request.headers} />
      </Section>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">{title}</h3>
      {children}
    </section>
  );
}
