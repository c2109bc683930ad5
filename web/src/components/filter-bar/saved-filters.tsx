import { Trash2 } from "lucide-react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Confirm } from "@/components/ui/confirm";
import { Dialog } from "@/components/ui/dialog";
import { plainText } from "@/lib/text";
import type { Filters, SavedFilter } from "./use-filters";

const field =
  "h-8 w-full min-w-0 rounded-md border border-line bg-page px-2 placeholder:text-muted aria-invalid:border-bad";

interface Props {
  filters: Filters;
  draft: string;
  onClose: () => void;
  onChoose: (filter: string) => void;
}

/** Saves the filter under a name, and renames and deletes saved filters. */
export function SavedFilters({ filters, draft, onClose, onChoose }: Props) {
  const { saved, save, rename, remove } = filters;
  const [name, setName] = useState("");
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // After the dialog has focused its close button.
    const timer = setTimeout(() => input.current?.focus());
    return () => clearTimeout(timer);
  }, []);
  const isTaken = saved.some((entry) => entry.name === name.trim());
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim() === "") return;
    save(name.trim(), draft);
    onClose();
  };
  return (
    <Dialog open onClose={onClose} title="Saved filters" description="Stored in this browser.">
      {draft.trim() !== "" && (
        <form onSubmit={submit} className="mb-4 space-y-2">
          <label className="block">
            <span className="mb-1 block text-xs text-muted">
              A name for <SafeText text={draft} limit={200} className="font-mono text-ink" />
            </span>
            <span className="flex gap-2">
              <input
                ref={input}
                className={field}
                value={name}
                maxLength={80}
                onChange={(event) => setName(event.target.value)}
              />
              <Button look="primary" type="submit" disabled={name.trim() === ""}>
                {isTaken ? "Replace" : "Save"}
              </Button>
            </span>
          </label>
        </form>
      )}
      {saved.length === 0 ? (
        draft.trim() === "" && (
          <p className="text-muted">None yet. Write a filter first, then save it here.</p>
        )
      ) : (
        <ul className="space-y-2">
          {saved.map((entry) => (
            <Entry
              key={entry.name}
              entry={entry}
              onRename={(to) => rename(entry.name, to)}
              onDelete={() => remove(entry.name)}
              onChoose={() => {
                onClose();
                onChoose(entry.filter);
              }}
            />
          ))}
        </ul>
      )}
    </Dialog>
  );
}

interface EntryProps {
  entry: SavedFilter;
  /** Returns false if the name is taken or empty. */
  onRename: (to: string) => boolean;
  onDelete: () => void;
  onChoose: () => void;
}

function Entry({ entry, onRename, onDelete, onChoose }: EntryProps) {
  const [name, setName] = useState(entry.name);
  const [isTaken, setTaken] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const rename = () => {
    const isDone = onRename(name.trim());
    setTaken(!isDone && name.trim() !== "");
    if (!isDone && name.trim() === "") setName(entry.name);
  };
  const shown = plainText(entry.name, 80);
  return (
    <li className="flex items-start gap-1.5">
      <div className="min-w-0 flex-1">
        <input
          aria-label={`Name of ${shown}`}
          aria-invalid={isTaken}
          className={field}
          value={name}
          maxLength={80}
          onChange={(event) => setName(event.target.value)}
          onBlur={rename}
          onKeyDown={(event) => event.key === "Enter" && rename()}
        />
        <p className={`mt-0.5 truncate px-2 text-xs ${isTaken ? "text-bad" : "font-mono text-muted"}`}>
          {isTaken ? "Another filter has this name" : <SafeText text={entry.filter} limit={200} />}
        </p>
      </div>
      <Button onClick={onChoose} aria-label={`Use ${shown}`}>
        Use
      </Button>
      <Button
        look="ghost"
        size="icon"
        aria-label={`Delete ${shown}`}
        title="Delete"
        onClick={() => setAsking(true)}
      >
        <Trash2 size={15} />
      </Button>
      {isAsking && (
        <Confirm
          title="Delete this filter?"
          action="Delete"
          onConfirm={onDelete}
          onClose={() => setAsking(false)}
        >
          <SafeText text={entry.name} limit={80} className="font-medium break-words" /> will be deleted from
          this browser.
        </Confirm>
      )}
    </li>
  );
}
