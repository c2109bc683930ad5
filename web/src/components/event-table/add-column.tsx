import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { keys } from "@/api/queries";
import { useSuggestionSource } from "@/components/filter-bar/completion";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { useSessionStream } from "@/hooks/session-stream";
import { isDataPath } from "@/lib/filter";
import { addDataColumn, isDataColumn, maxDataColumns } from "./columns";
import type { ColumnState } from "./columns-provider";

interface Props {
  open: boolean;
  onClose: () => void;
  columns: ColumnState;
}

/** The dialog that adds a column for a value of the data: one of the session's, or any other path. */
export function AddColumn({ open, onClose, columns }: Props) {
  return (
    <Dialog open={open} onClose={onClose} title="Add a column">
      {open && <Choice onClose={onClose} columns={columns} />}
    </Dialog>
  );
}

function Choice({ onClose, columns }: Omit<Props, "open">) {
  const { sessionId } = useSessionStream();
  const source = useSuggestionSource(sessionId);
  const [text, setText] = useState("");
  const [fault, setFault] = useState<string>();
  const problem = useId();
  const paths = useQuery({ queryKey: keys.of(sessionId, "columns"), queryFn: () => source.paths() });
  const shown = new Set<string>(columns.all.map(({ id }) => id));
  const wanted = text.trim().toLowerCase();
  const found = (paths.data ?? []).filter(
    ({ path }) => isDataPath(path) && !shown.has(path) && path.toLowerCase().includes(wanted),
  );
  const add = (path: string) => {
    if (columns.all.filter(({ id }) => isDataColumn(id)).length >= maxDataColumns)
      return setFault(`The table has ${maxDataColumns} columns of data. Remove one first.`);
    columns.change((all) => addDataColumn(all, path));
    onClose();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const typed = text.trim();
    const path = /^data[.[]/.test(typed) ? typed : `data.${typed}`;
    if (isDataPath(path)) add(path);
    else setFault('Write a path such as data.request.method, data.dns[0].code or data["a key"].');
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-2">
      <Field label="Field of the data">
        <span className="flex gap-2">
          <Input
            value={text}
            onChange={(event) => {
              setText(event.target.value);
              setFault(undefined);
            }}
            placeholder="data.request.method"
            spellCheck={false}
            autoCapitalize="off"
            aria-invalid={fault !== undefined}
            aria-describedby={problem}
            className="min-w-0 flex-1 font-mono"
          />
          <Button type="submit" look="primary" disabled={wanted === ""}>
            Add
          </Button>
        </span>
      </Field>
      <p id={problem} role="status" className="text-xs text-bad">
        {fault}
      </p>
      <h3 className="text-2xs font-semibold tracking-wide text-muted uppercase">In this session</h3>
      {found.length === 0 && (
        <p className="text-xs text-muted">{paths.isPending ? "Loading the fields…" : "No matching fields"}</p>
      )}
      <ul className="max-h-80 overflow-y-auto">
        {found.slice(0, 200).map(({ path, type }) => (
          <li key={path}>
            <button
              type="button"
              onClick={() => add(path)}
              className="flex w-full items-baseline gap-3 rounded px-2 py-1 text-left hover:bg-hover"
            >
              <SafeText text={path} limit={200} className="min-w-0 flex-1 truncate font-mono text-xs" />
              <span className="text-xs text-muted">{type}</span>
            </button>
          </li>
        ))}
      </ul>
    </form>
  );
}
