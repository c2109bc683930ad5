import type { components } from "@/api/schema";
import { Field, Input } from "@/components/ui/field";

type Selection = components["schemas"]["Selection"];

/** What the reader has entered. */
export interface SelectionDraft {
  leaveOut: ReadonlySet<string>;
  onlyPaths: string;
  leaveOutPaths: string;
}

export const noSelection: SelectionDraft = { leaveOut: new Set(), onlyPaths: "", leaveOutPaths: "" };

/** The part of the request for a start. Without a choice, the agent's own setting applies. */
export function selectionOf(draft: SelectionDraft): { selection?: Selection } {
  const selection = {
    ...(draft.leaveOut.size > 0 && { leaveOut: [...draft.leaveOut] }),
    ...listOf("onlyPaths", draft.onlyPaths),
    ...listOf("leaveOutPaths", draft.leaveOutPaths),
  };
  return Object.keys(selection).length > 0 ? { selection } : {};
}

function listOf(name: "onlyPaths" | "leaveOutPaths", text: string): Selection {
  const paths = text.split(":").flatMap((path) => path.trim() || []);
  return paths.length > 0 ? { [name]: paths } : {};
}

/** What our agent's classes mean. An agent may have others. */
const meanings: Record<string, string> = {
  reads: "reads of files, pipes and terminals",
  writes: "writes to files, pipes and terminals",
  contents: "the bytes that are read, written and sent, but not their number",
  closes: "closed files",
  duplicates: "duplicated descriptors",
  opens: "files that are opened to read them",
  lookups: "calls on paths that do not exist",
  transfers: "what sockets send and receive, and with it plain HTTP",
};

interface Props {
  classes: readonly string[];
  draft: SelectionDraft;
  onChange: (draft: SelectionDraft) => void;
}

/** Chooses what the agent leaves out, for programs that do very much. Closed until it is wanted. */
export function SelectionFields({ classes, draft, onChange }: Props) {
  if (classes.length === 0) return null;
  const toggle = (name: string) => {
    const next = new Set(draft.leaveOut);
    if (!next.delete(name)) next.add(name);
    onChange({ ...draft, leaveOut: next });
  };
  return (
    <details className="rounded-md border border-line px-3 py-2">
      <summary className="cursor-pointer text-xs font-medium">Leave out events</summary>
      <p className="mt-2 text-xs text-muted">
        For programs that do very much. The session says what was left out, and how many events. Without a
        choice, the agent's own setting applies.
      </p>
      <div className="mt-2 grid gap-x-4 gap-y-1.5 sm:grid-cols-2">
        {classes.map((name) => (
          <label key={name} className="flex gap-2 text-xs">
            <input
              type="checkbox"
              checked={draft.leaveOut.has(name)}
              onChange={() => toggle(name)}
              className="mt-px accent-(--color-accent)"
            />
            <span>
              {name}
              {meanings[name] && <span className="block text-muted">{meanings[name]}</span>}
            </span>
          </label>
        ))}
      </div>
      <div className="mt-3 flex flex-col gap-3">
        <Field label="Only files in" hint="Absolute paths, separated by colons.">
          <Input
            value={draft.onlyPaths}
            placeholder="/home:/etc"
            onChange={(event) => onChange({ ...draft, onlyPaths: event.target.value })}
            className="font-mono"
          />
        </Field>
        <Field label="No files in" hint="Of two paths that contain a file, the longer one decides.">
          <Input
            value={draft.leaveOutPaths}
            placeholder="/usr:/proc"
            onChange={(event) => onChange({ ...draft, leaveOutPaths: event.target.value })}
            className="font-mono"
          />
        </Field>
      </div>
    </details>
  );
}
