import { CircleQuestionMark } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/ui/button";
import { Panel } from "@/components/ui/panel";

const examples: readonly (readonly [filter: string, about: string])[] = [
  ["invoice", "contains this text anywhere"],
  ["type = http_network_operation", "one type of event"],
  ["process: curl and not operation: ReadFile", "and, or, not, ( )"],
  ["target contains .ssh", "part of the path, URL or address"],
  ["target: /tmp/*.sh", "a pattern: * any text, ? one character"],
  ["operation in (WriteFile, RenameFile, DeleteFile)", "one of several"],
  ["pid in (102, 4711)", "several process IDs"],
  ["data.request.method = POST", "any value that the agent sent, by its path"],
  ["data.response.status_code >= 400", "a number, compared"],
  ["exists data.error", "calls that failed"],
];

/** Ten examples of the filter language. A click inserts one into the filter. */
export function FilterHelp({ onInsert }: { onInsert: (example: string) => void }) {
  const [open, setOpen] = useState(false);
  return (
    <Panel
      open={open}
      onOpenChange={setOpen}
      label="Filter syntax"
      align="end"
      className="w-[34rem] p-2"
      trigger={
        <Button look="ghost" size="icon" aria-label="Filter syntax" title="Filter syntax">
          <CircleQuestionMark size={16} />
        </Button>
      }
    >
      <p className="px-2 pb-1.5 text-xs text-muted">Click an example to put it into the filter.</p>
      <ul>
        {examples.map(([filter, about]) => (
          <li key={filter}>
            <button
              type="button"
              className="grid w-full items-baseline gap-x-3 rounded px-2 py-1 text-left hover:bg-hover sm:grid-cols-[1fr_auto]"
              onClick={() => {
                setOpen(false);
                onInsert(filter);
              }}
            >
              <code className="font-mono text-xs break-words text-accent">{filter}</code>
              <span className="text-xs text-muted">{about}</span>
            </button>
          </li>
        ))}
      </ul>
      <p className="border-t border-line px-2 pt-2 text-xs text-muted">
        Put a value with spaces or signs in quotes: <code className="font-mono">'it''s a b'</code>. Nothing in
        quotes is a pattern. <kbd className="font-mono">Tab</kbd> takes a suggestion.{" "}
        <kbd className="font-mono">↑</kbd> in an empty filter recalls the previous filter.
      </p>
    </Panel>
  );
}
