import { FileText } from "lucide-react";
import { useCallback, useDeferredValue, useState } from "react";
import { useSearchParams } from "wouter";
import { api, call } from "@/api/client";
import { FileDetail } from "@/components/files/file-detail";
import { type FileSort, FileTable } from "@/components/files/file-table";
import { Split } from "@/components/split";
import { Input } from "@/components/ui/field";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";
import { useRollup } from "@/hooks/rollup";
import { useSessionStream } from "@/hooks/session-stream";
import { useView } from "@/hooks/view";
import { plural } from "@/lib/number";

export default function FilesView() {
  const { sessionId } = useSessionStream();
  const { filter } = useView();
  const [text, setText] = useState("");
  const q = useDeferredValue(text);
  const [sort, setSort] = useState<FileSort>("events");
  const [params, setParams] = useSearchParams();
  const chosenPath = params.get("file") ?? undefined;
  const choose = (path: string | undefined) =>
    setParams(
      (now) => {
        const next = new URLSearchParams(now);
        if (path === undefined) next.delete("file");
        else next.set("file", path);
        return next;
      },
      { replace: true },
    );
  const files = useRollup(sessionId, "files", { filter, q, sort }, (cursor, signal) =>
    call(
      api.GET("/api/sessions/{sessionId}/files", {
        params: {
          path: { sessionId },
          query: { filter: filter || undefined, q: q || undefined, sort, cursor },
        },
        signal,
      }),
    ),
  );
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = files;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  if (files.isPending) return <LoadingState label="Loading the files" />;
  if (!files.data) return <ErrorState error={files.error} retry={() => void files.refetch()} />;
  const all = files.data.pages.flatMap((page) => page.files);
  const newest = files.data.pages.at(-1);
  const chosen = all.find((file) => file.path === chosenPath);
  return (
    <>
      <div className="flex flex-wrap items-center gap-3 border-b border-line px-3 py-1.5">
        <Input
          type="search"
          aria-label="Search paths"
          placeholder="Part of a path"
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="w-72 max-w-full"
        />
        <span className="text-xs text-muted">
          {plural(newest?.total ?? 0, "file")}
          {newest && newest.others > 0 && `; ${plural(newest.others, "event")} in files beyond the limit`}
          {newest && newest.without_path > 0 && `; ${plural(newest.without_path, "event")} without a path`}
        </span>
      </div>
      {all.length === 0 ? (
        <EmptyState
          icon={<FileText size={28} />}
          title={filter === "" && q === "" ? "No files yet" : "No matching files"}
        >
          {filter === "" && q === ""
            ? "They appear once a program opens one."
            : "Change the search or the filter."}
        </EmptyState>
      ) : (
        <Split
          pane={
            chosen && (
              <FileDetail
                key={chosen.path}
                sessionId={sessionId}
                file={chosen}
                onClose={() => choose(undefined)}
              />
            )
          }
        >
          <FileTable
            files={all}
            sort={sort}
            chosen={chosen?.path}
            onSort={setSort}
            onChoose={choose}
            onEnd={onEnd}
          />
        </Split>
      )}
    </>
  );
}
