import { type RefObject, useEffect, useState } from "react";
import { type ListedEvent, messageOf } from "@/api/client";
import { processOf } from "@/api/process-tree";
import { copyText } from "@/components/copy-button";
import { SafeText } from "@/components/safe-text";
import { MenuItem, MenuLine } from "@/components/ui/menu";
import { PointMenu } from "@/components/ui/point-menu";
import { useNotify } from "@/components/ui/toast";
import { useView } from "@/hooks/view";
import { addCondition } from "@/lib/filter";
import { fromMicros, toMicros } from "@/lib/time";
import type { ColumnId } from "./columns";
import { fieldValue } from "./value";

/** The value whose menu is open, and its place on the screen. */
export interface Asked {
  event: ListedEvent;
  column: ColumnId;
  x: number;
  y: number;
}

interface Props {
  asked: Asked | undefined;
  onClose: () => void;
  focusAfter: RefObject<HTMLElement | null>;
  onOpen: (seq: number) => void;
}

/** The menu of a value: include it, exclude it, copy it. */
export function ValueMenu({ asked, onClose, focusAfter, onOpen }: Props) {
  // The last value stays drawn while the menu closes.
  const [last, setLast] = useState<Asked>();
  useEffect(() => {
    if (asked) setLast(asked);
  }, [asked]);
  const shown = asked ?? last;
  return (
    <PointMenu at={asked} label="Value" onClose={onClose} focusAfter={focusAfter}>
      {shown && <Items asked={shown} onOpen={onOpen} />}
    </PointMenu>
  );
}

function Items({ asked, onOpen }: { asked: Asked; onOpen: (seq: number) => void }) {
  const { event, column } = asked;
  const { view, change } = useView();
  const notify = useNotify();
  const value = fieldValue(event, column);
  const copy = (text: string) => void copyText(text).then(() => notify("Copied"));
  return (
    <>
      <MenuItem onSelect={() => onOpen(event.seq)}>Show details</MenuItem>
      <MenuLine />
      {value && (
        <>
          <p className="truncate px-2 py-1 font-mono text-xs text-muted">
            <SafeText text={value.field} limit={80} /> ={" "}
            {value.text === null ? "none" : <SafeText text={value.text} limit={80} />}
          </p>
          <MenuItem onSelect={() => change({ filter: addCondition(view.filter, value.conditionOf(false)) })}>
            Include this value
          </MenuItem>
          <MenuItem onSelect={() => change({ filter: addCondition(view.filter, value.conditionOf(true)) })}>
            Exclude this value
          </MenuItem>
          {value.text !== null && <MenuItem onSelect={() => copy(value.text ?? "")}>Copy</MenuItem>}
        </>
      )}
      {column === "result" && (
        <MenuItem onSelect={() => change({ filter: addCondition(view.filter, "exists data.error") })}>
          Only failed calls
        </MenuItem>
      )}
      {(column === "process" || column === "pid") && event.pid !== null && (
        <MenuItem
          onSelect={() =>
            void processOf(event.session_id, event).then(
              (process) => change({ process }),
              (error) => notify(messageOf(error)),
            )
          }
        >
          Only this process
        </MenuItem>
      )}
      {(column === "time" || column === "delta") && (
        <>
          <MenuItem onSelect={() => change({ span: around(event.timestamp) })}>1 s before and after</MenuItem>
          <MenuItem
            onSelect={() => change({ filter: addCondition(view.filter, `time >= ${event.timestamp}`) })}
          >
            From here on
          </MenuItem>
          <MenuItem
            onSelect={() => change({ filter: addCondition(view.filter, `time <= ${event.timestamp}`) })}
          >
            Up to here
          </MenuItem>
          <MenuItem onSelect={() => copy(event.timestamp)}>Copy</MenuItem>
        </>
      )}
      {column === "seq" && <MenuItem onSelect={() => copy(String(event.seq))}>Copy</MenuItem>}
      {column === "preview" && <MenuItem onSelect={() => copy(event.preview)}>Copy the beginning</MenuItem>}
    </>
  );
}

/** The span from a second before a time to a second after it. */
export function around(time: string): { from: string; to: string } {
  const micros = toMicros(time);
  return { from: fromMicros(micros - 1e6), to: fromMicros(micros + 1e6) };
}
