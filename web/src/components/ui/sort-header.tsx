import { ArrowDown, ArrowUp } from "lucide-react";

interface Props {
  label: string;
  active: boolean;
  /** The direction of sorting, if the list is sorted by this column. */
  descending: boolean;
  onSort: () => void;
  className?: string;
}

/** The header of a sortable column. */
export function SortHeader({ label, active, descending, onSort, className = "" }: Props) {
  const Icon = descending ? ArrowDown : ArrowUp;
  return (
    <span
      role="columnheader"
      aria-sort={active ? (descending ? "descending" : "ascending") : "none"}
      className={className}
    >
      <button
        type="button"
        onClick={onSort}
        className={`inline-flex w-full items-center gap-0.5 rounded uppercase hover:text-ink ${className.includes("justify-end") ? "justify-end" : ""} ${active ? "text-ink" : ""}`}
      >
        {label}
        {active && <Icon size={11} className="shrink-0" aria-hidden />}
      </button>
    </span>
  );
}
