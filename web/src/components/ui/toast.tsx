import { X } from "lucide-react";
import { Toast as Radix } from "radix-ui";
import { createContext, type ReactNode, useCallback, useContext, useRef, useState } from "react";

interface Note {
  id: number;
  text: ReactNode;
  bad: boolean;
}

type Notify = (text: ReactNode, options?: { bad?: boolean }) => void;
const Context = createContext<Notify>(() => {});

/** Returns the function that shows a notification. */
export const useNotify = () => useContext(Context);

export function ToastProvider({ children }: { children: ReactNode }) {
  const [notes, setNotes] = useState<Note[]>([]);
  const lastID = useRef(0);
  const notify = useCallback<Notify>((text, options) => {
    const id = ++lastID.current;
    setNotes((now) => [...now.slice(-3), { id, text, bad: options?.bad ?? false }]);
  }, []);
  return (
    <Context value={notify}>
      <Radix.Provider swipeDirection="right" duration={6000}>
        {children}
        {notes.map((note) => (
          <Radix.Root
            key={note.id}
            duration={note.bad ? 15_000 : 6000}
            onOpenChange={(open) => !open && setNotes((now) => now.filter((other) => other.id !== note.id))}
            className={`flex items-start gap-2 rounded-md border bg-raised px-3 py-2 shadow-lg ${note.bad ? "border-bad" : "border-line"}`}
          >
            <Radix.Description className="min-w-0 flex-1 break-words">{note.text}</Radix.Description>
            <Radix.Close aria-label="Dismiss" className="text-muted hover:text-ink">
              <X size={16} />
            </Radix.Close>
          </Radix.Root>
        ))}
        <Radix.Viewport className="fixed right-2 bottom-2 z-50 flex w-96 max-w-[calc(100vw-1rem)] flex-col gap-2" />
      </Radix.Provider>
    </Context>
  );
}
