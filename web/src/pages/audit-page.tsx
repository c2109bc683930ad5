import { Download, ScrollText } from "lucide-react";
import { useSearchParams } from "wouter";
import { basePath } from "@/api/base";
import { type AuditSearch, useAudit } from "@/api/queries";
import { AuditTable, actions } from "@/components/keys/audit-table";
import { Button, buttonClass } from "@/components/ui/button";
import { Input, inputClass } from "@/components/ui/field";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { byId, useArrival } from "@/hooks/focus";

const actorId = "audit-actor";

/** What actors did, for admins. */
export default function AuditPage() {
  const [params, setParams] = useSearchParams();
  const search: AuditSearch = {
    actor: params.get("actor") ?? undefined,
    action: params.get("action") ?? undefined,
    session: params.get("session") ?? undefined,
  };
  const set = (name: keyof AuditSearch, value: string) =>
    setParams(
      (now) => {
        if (value) now.set(name, value);
        else now.delete(name);
        return now;
      },
      { replace: true },
    );
  const { data, error, isPending, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } =
    useAudit(search);
  useArrival(data !== undefined, () => byId(actorId));
  const entries = data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h1 className="mr-2 flex-1 text-base font-semibold">Audit</h1>
        <Input
          id={actorId}
          aria-label="Name of a key or person"
          placeholder="Key or person"
          defaultValue={search.actor}
          onChange={(event) => set("actor", event.target.value)}
        />
        <select
          aria-label="Action"
          className={`${inputClass} h-8`}
          value={search.action ?? ""}
          onChange={(event) => set("action", event.target.value)}
        >
          <option value="">Any action</option>
          {Object.entries(actions).map(([action, label]) => (
            <option key={action} value={action}>
              {label}
            </option>
          ))}
        </select>
        <a
          download
          href={`${basePath}/api/audit?${new URLSearchParams({ ...withoutEmpty(search), format: "ndjson" })}`}
          className={buttonClass()}
        >
          <Download size={15} aria-hidden /> Download
        </a>
      </div>
      {isPending && <LoadingState label="Loading the audit" />}
      {!isPending && !data && <ErrorState error={error} retry={() => void refetch()} />}
      {data && entries.length === 0 && (
        <EmptyState icon={<ScrollText size={28} />} title="No matching entries">
          The audit records uploads, starts, stops, changes, exports, downloads and sign-ins.
        </EmptyState>
      )}
      {entries.length > 0 && (
        <div className="min-h-0 flex-1 overflow-auto">
          <AuditTable entries={entries} />
          {hasNextPage && (
            <p className="p-3 text-center">
              <Button disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
                Show older entries
              </Button>
            </p>
          )}
        </div>
      )}
    </>
  );
}

function withoutEmpty(search: AuditSearch): Record<string, string> {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value));
}
