import { useView } from "@/lib/view";

export function FilterBar(_: { sessionId: string }) {
  const { view, change } = useView();
  return (
    <input
      aria-label="Filter"
      defaultValue={view.filter}
      onKeyDown={(event) => event.key === "Enter" && change({ filter: event.currentTarget.value })}
      className="h-8 min-w-48 flex-1 rounded-md border border-line bg-page px-2 font-mono"
    />
  );
}
