import { FileUp, FolderOpen, Inbox, SearchX } from "lucide-react";
import { useCallback, useState } from "react";
import { type SessionSearch, useSessions } from "@/api/queries";
import { AgentSelect } from "@/components/agents/agent-select";
import { ForRole } from "@/components/for-role";
import { Expirations } from "@/components/session-list/expirations";
import { SearchBar } from "@/components/session-list/search-bar";
import { SessionTable } from "@/components/session-list/session-table";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { FileButton } from "@/components/upload/file-button";
import { byId, focusIds, useArrival } from "@/hooks/focus";
import { useSessionsStream } from "@/hooks/sessions-stream";
import { useSettings } from "@/hooks/settings";
import { useUploads } from "@/hooks/uploads";

export function SessionsPage() {
  const [search, setSearch] = useState<SessionSearch>({});
  const { send } = useUploads();
  const { agent, change } = useSettings();
  useSessionsStream();
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h1 className="mr-2 text-base font-semibold max-sm:flex-1">Sessions</h1>
        {/* By keyboard, the actions come before the fields of the search. */}
        <div className="flex gap-2 max-sm:w-full sm:order-last">
          <ForRole least="analyst">
            <FileButton look="plain" accept=".zip" onFiles={(files) => send(files, "bundle")}>
              <FolderOpen size={15} aria-hidden /> Import
            </FileButton>
            <AgentSelect
              value={agent}
              onChange={(id) => change({ agent: id })}
              className="max-sm:min-w-0 max-sm:flex-1 sm:max-w-48"
            />
            <FileButton id={focusIds.upload} look="primary" onFiles={(files) => send(files, "target")}>
              <FileUp size={15} aria-hidden /> Upload a file
            </FileButton>
          </ForRole>
        </div>
        <SearchBar search={search} onChange={setSearch} />
      </div>
      <List search={search} />
      <Expirations />
    </>
  );
}

function List({ search }: { search: SessionSearch }) {
  const { data, error, isPending, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } =
    useSessions(search);
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  useArrival(data !== undefined, (before) => {
    const links = [...document.querySelectorAll<HTMLElement>("[role=table] [role=cell] a")];
    return links.find((link) => link.dataset.session === before) ?? links[0] ?? byId(focusIds.upload);
  });
  if (isPending) return <LoadingState label="Loading the sessions" />;
  if (!data) return <ErrorState error={error} retry={() => void refetch()} />;
  const isSearching = Object.values({ ...search, sort: undefined }).some((value) => value !== undefined);
  const all = data.pages.flatMap((page) => page.sessions);
  // An empty session unassigned is hidden.
  const sessions = all.filter(
    (session) => session.id !== "unassigned" || session.event_count > session.expired_seq,
  );
  if (sessions.length === 0 && isSearching) {
    return (
      <EmptyState icon={<SearchX size={28} />} title="No matching sessions">
        The search finds text in names, notes and file names, and hashes by their beginning. Each list beside
        it restricts it further.
      </EmptyState>
    );
  }
  if (sessions.length === 0) {
    return (
      <EmptyState icon={<Inbox size={28} />} title="No sessions yet">
        <p>
          Drop a file anywhere on this page to make one. It is stored, and runs only when you press Start. A
          bundle of another OS-Pulse can be imported.
        </p>
      </EmptyState>
    );
  }
  return <SessionTable sessions={sessions} onEnd={onEnd} />;
}
