import { Columns3, Minus, Plus } from "lucide-react";
import { type ReactNode, useMemo } from "react";
import type { EventText } from "@/api/event";
import { CopyButton } from "@/components/copy-button";
import { addDataColumn, type DataColumn, setColumn } from "@/components/event-table/columns";
import { useColumns } from "@/components/event-table/columns-provider";
import { jsonCondition } from "@/components/json-tree/rows";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { useView } from "@/hooks/view";
import { addCondition, condition, dataPath, isDataPath } from "@/lib/filter";
import { jsonPlain } from "@/lib/json";
import { kindOf } from "@/lib/kind";
import { formatDateTime } from "@/lib/time";
import { dataFields } from "./fields";

// The JSON and content tabs show the rest of a longer value.
const shownLimit = 600;

/** The fields of an event, and the values of its data that are worth a line. */
export function FieldsTab({ event }: { event: EventText }) {
  const { fields, text, data } = event;
  const { fields: rest, isCut } = useMemo(
    () => (data ? dataFields(fields.event_type, text, data) : { fields: [], isCut: false }),
    [fields.event_type, text, data],
  );
  const lifted = [
    ["type", fields.event_type],
    ["operation", fields.operation],
    ["target", fields.target],
    ["process", fields.process_name],
    ["pid", fields.pid],
    ["source", fields.source],
  ] as const;
  return (
    <div className="min-h-0 flex-1 overflow-y-auto pb-3">
      <Section title="Event">
        {lifted.map(([field, value]) => (
          <Field
            key={field}
            label={field}
            copied={value === null ? undefined : String(value)}
            conditionOf={(isNot) => condition(field, value, isNot)}
          >
            {value === null ? (
              <span className="text-muted">none</span>
            ) : (
              <span className={field === "type" ? kindOf(fields.event_type).text : ""}>
                <SafeText text={String(value)} limit={shownLimit} />
              </span>
            )}
          </Field>
        ))}
        {fields.timestamp_source === "received" && (
          <Field label="time sent" copied={fields.timestamp_text}>
            <SafeText text={fields.timestamp_text ?? "none"} limit={200} />
            <span className="ml-2 text-muted">no time; the time above is when the backend received it</span>
          </Field>
        )}
        <Field label="stored" copied={fields.created_at}>
          {formatDateTime(fields.created_at, "utc")} UTC
        </Field>
      </Section>
      {rest.length > 0 && (
        <Section title="Data">
          {rest.map((field) => (
            <Field
              key={field.steps.join("\0")}
              label={<SafeText text={field.label} limit={80} />}
              copied={() => jsonPlain(text, field.value)}
              conditionOf={(isNot) => jsonCondition(text, field.steps, field.value, isNot)}
              path={dataPath(field.steps)}
            >
              <span
                className={
                  field.label === "error" ? "text-bad" : field.value.kind === "null" ? "text-muted" : ""
                }
              >
                <SafeText text={field.text} limit={shownLimit} />
              </span>
              {field.meaning && <span className="ml-2 text-muted">{field.meaning}</span>}
            </Field>
          ))}
          {isCut && <p className="py-1 text-xs text-muted">The JSON tab has the other values.</p>}
        </Section>
      )}
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="px-3 pt-3">
      <h3 className="mb-1 text-2xs font-semibold tracking-wide text-muted uppercase">{title}</h3>
      <dl>{children}</dl>
    </section>
  );
}

interface FieldProps {
  label: ReactNode;
  /** The text to copy; undefined for no copy button. */
  copied?: string | (() => string);
  conditionOf?: (isNot: boolean) => string;
  /** The path of a value of the data, which can be a column of the table. */
  path?: string;
  children: ReactNode;
}

function Field({ label, copied, conditionOf, path, children }: FieldProps) {
  const { view, change } = useView();
  const filter = (isNot: boolean) =>
    conditionOf && change({ filter: addCondition(view.filter, conditionOf(isNot)) });
  return (
    <div className="group grid min-h-7 grid-cols-[7.5rem_minmax(0,1fr)_auto] items-start border-b border-line/60 hover:bg-hover">
      <dt className="py-1 pr-2 text-xs leading-5 break-words text-muted">{label}</dt>
      <dd className="py-1 font-mono text-xs leading-5 break-all whitespace-pre-wrap">{children}</dd>
      <dd className="flex opacity-60 group-focus-within:opacity-100 group-hover:opacity-100">
        {conditionOf && (
          <>
            <Button
              look="ghost"
              size="smallIcon"
              aria-label="Include this value"
              title="Include this value"
              onClick={() => filter(false)}
            >
              <Plus size={14} />
            </Button>
            <Button
              look="ghost"
              size="smallIcon"
              aria-label="Exclude this value"
              title="Exclude this value"
              onClick={() => filter(true)}
            >
              <Minus size={14} />
            </Button>
          </>
        )}
        {path !== undefined && isDataPath(path) && <ColumnButton path={path as DataColumn} />}
        {copied !== undefined && <CopyButton text={copied} />}
      </dd>
    </div>
  );
}

/** Shows a value of the data as a column of the table, or removes the column. */
function ColumnButton({ path }: { path: DataColumn }) {
  const { all, change } = useColumns();
  const isShown = all.some((column) => column.id === path);
  const label = isShown ? "Remove the column" : "Show as column";
  return (
    <Button
      look="ghost"
      size="smallIcon"
      aria-label={label}
      aria-pressed={isShown}
      title={label}
      className={isShown ? "text-accent!" : ""}
      onClick={() =>
        change((columns) =>
          isShown ? setColumn(columns, path, { isShown: false }) : addDataColumn(columns, path),
        )
      }
    >
      <Columns3 size={14} />
    </Button>
  );
}
