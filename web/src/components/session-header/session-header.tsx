import { useSession } from "@/api/queries";
import { SafeText } from "@/components/safe-text";

export function SessionHeader({ sessionId }: { sessionId: string }) {
  const { data: session } = useSession(sessionId);
  return (
    <header className="border-b border-line bg-surface px-3 py-2">
      <h1 className="text-base font-semibold">
        <SafeText text={session?.name || session?.file_name || sessionId} />
      </h1>
    </header>
  );
}
