import { Link } from "wouter";
import { useSessions } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { EmptyState, ErrorState, LoadingState } from "@/components/ui/state";

export function SessionsPage() {
  const sessions = useSessions({});
  if (sessions.isPending) return <LoadingState label="Loading the sessions" />;
  if (sessions.isError) return <ErrorState error={sessions.error} retry={() => void sessions.refetch()} />;
  const all = sessions.data.pages.flatMap((page) => page.sessions);
  if (all.length === 0) return <EmptyState title="No sessions yet">Drop a file here to make one.</EmptyState>;
  return (
    <ul className="overflow-auto p-4">
      {all.map((session) => (
        <li key={session.id}>
          <Link href={`/sessions/${encodeURIComponent(session.id)}`} className="text-accent">
            <SafeText text={session.name || session.file_name || session.id} />
          </Link>
        </li>
      ))}
    </ul>
  );
}
