import { ChevronDown, ChevronRight } from "lucide-react";
import { SafeText } from "@/components/safe-text";
import { type JsonKind, jsonString } from "@/lib/json";
import { isContainer, type TreeRow } from "./rows";

export const treeRowHeight = 22;
const indent = 14;
const deepest = 40; // deeper rows are not indented further
const valueLimit = 300;

const colors: Record<JsonKind, string> = {
  string: "text-good",
  number: "text-file",
  true: "text-http",
  false: "text-http",
  null: "text-muted",
  object: "text-muted",
  array: "text-muted",
};

interface Props {
  id: string;
  text: string;
  row: TreeRow;
  index: number;
  top: number;
  isCurrent: boolean;
}

/** A line of the tree. The tree handles its clicks, by data-index and data-value. */
export function JsonTreeRow({ id, text, row, index, top, isCurrent }: Props) {
  const isList = isContainer(row.value) && !row.isMore;
  const Chevron = row.isOpen ? ChevronDown : ChevronRight;
  return (
    <div
      id={id}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-expanded={isList ? row.isOpen : undefined}
      aria-selected={isCurrent}
      data-index={index}
      className={`absolute inset-x-0 flex items-center pr-3 whitespace-pre hover:bg-hover ${isList || row.isMore ? "cursor-pointer" : ""} ${isCurrent ? "bg-hover" : ""}`}
      style={{ top, height: treeRowHeight, paddingLeft: 6 + Math.min(row.depth, deepest) * indent }}
    >
      <span className="w-4 shrink-0 text-muted">{isList && <Chevron size={14} aria-hidden />}</span>
      {row.isMore ? (
        <span className="text-accent underline">Show more…</span>
      ) : (
        <>
          {row.key !== undefined && (
            <span className="text-ink">
              {typeof row.key === "number" ? row.key : <SafeText text={row.key} limit={120} />}
              <span className="text-muted">: </span>
            </span>
          )}
          <Value text={text} row={row} />
        </>
      )}
    </div>
  );
}

function Value({ text, row }: { text: string; row: TreeRow }) {
  const { kind, from, to } = row.value;
  if (isContainer(row.value)) {
    const [opening, closing] = kind === "object" ? ["{", "}"] : ["[", "]"];
    if (row.isOpen) return <span className="text-muted">{opening}</span>;
    return (
      <span className="text-muted">
        {opening}
        <SafeText text={text.slice(from + 1, Math.min(to - 1, from + 1 + 4 * valueLimit))} limit={100} />
        {closing}
      </span>
    );
  }
  const isString = kind === "string";
  // One more than is drawn, so that SafeText shows that there is more.
  const shown = isString ? jsonString(text, row.value, 6 * valueLimit) : text.slice(from, to);
  return (
    <span
      data-value
      className={`cursor-pointer decoration-dotted underline-offset-2 hover:underline ${colors[kind]}`}
    >
      {isString && '"'}
      <SafeText text={shown} limit={valueLimit} />
      {isString && '"'}
    </span>
  );
}
