import { useMutation } from "@tanstack/react-query";
import { api, call, messageOf, type Session } from "@/api/client";
import { useNotify } from "@/components/ui/toast";
import { useView } from "@/hooks/view";
import { endText } from "@/lib/session";

/** How the session ended. A click opens the event of its end, which has the program's output. */
export function Ending({ session }: { session: Session }) {
  const { change } = useView();
  const notify = useNotify();
  const open = useMutation({
    mutationFn: () =>
      call(
        api.GET("/api/sessions/{sessionId}/events", {
          params: {
            path: { sessionId: session.id },
            query: { filter: "type = session_end", order: "desc", limit: 1 },
          },
        }),
      ),
    onSuccess: ({ events: [last] }) =>
      last ? change({ seq: last.seq }, { push: true }) : notify("The agent sent no event about the end."),
    onError: (error) => notify(messageOf(error), { bad: true }),
  });
  if (!session.end) return null;
  return (
    <button
      type="button"
      className="rounded px-1 hover:bg-hover hover:text-ink"
      title={`${session.end.text}. Open the last event, which has the program's output`}
      onClick={() => open.mutate()}
    >
      {endText(session.end)}
    </button>
  );
}
