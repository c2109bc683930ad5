import { Download } from "lucide-react";
import { type KeyboardEvent, useState } from "react";
import { sessionPath } from "@/api/base";
import { levelLooks } from "@/components/findings/level";
import { SafeText } from "@/components/safe-text";
import { Button, buttonClass } from "@/components/ui/button";
import { plural } from "@/lib/number";
import { type AttackCell, type AttackMatrix, type AttackTactic, fullName } from "./matrix";

interface Props {
  sessionId: string;
  matrix: AttackMatrix;
  /** The ID of the chosen technique, or the short name of the chosen tactic. */
  chosen?: string;
  onChoose: (id: string | undefined) => void;
}

type Score = Pick<AttackCell, "findings" | "events" | "level">;

/**
 * The findings of a session by tactic and technique of ATT&CK: a column for each tactic with
 * findings or, on request, for all. Each tactic and technique is a button. Tab reaches one of
 * them, and the arrow keys the others.
 */
export function AttackStrip({ sessionId, matrix, chosen, onChoose }: Props) {
  const [isWhole, setIsWhole] = useState(false);
  const [focused, setFocused] = useState<string>();
  const found = matrix.tactics.filter(({ findings }) => findings > 0);
  if (found.length === 0 && matrix.unplaced.length === 0) return null;
  const tactics = isWhole ? matrix.tactics : found;
  const techniques = new Set(tactics.flatMap((tactic) => tactic.techniques.map(({ id }) => id)));
  const button = (key: string, id: string, name: string, score: Score, look: string, technique?: string) => (
    <button
      key={key}
      type="button"
      data-key={key}
      tabIndex={key === (focused ?? firstKey(tactics, chosen)) ? 0 : -1}
      aria-pressed={id === chosen}
      title={`${technique ? `${technique} ` : ""}${name}: ${scoreText(score)}`}
      onFocus={() => setFocused(key)}
      onClick={() => onChoose(id === chosen ? undefined : id)}
      className={`flex min-h-6 w-full items-center gap-1 rounded px-1.5 text-left hover:bg-hover aria-pressed:bg-selected aria-pressed:text-accent ${look}`}
    >
      <span className="min-w-0 flex-1 truncate">
        <SafeText text={name} limit={120} />
        {technique && (
          <span className="ml-1.5 font-mono text-2xs text-muted">
            <SafeText text={technique} limit={20} />
          </span>
        )}
      </span>
      {score.level !== null && (
        <span className={`rounded px-1 tabular-nums ${levelLooks[score.level]}`}>
          {score.findings}
          <span className="sr-only"> {scoreText(score)}</span>
        </span>
      )}
    </button>
  );
  const cells = (column: string, all: readonly AttackCell[]) =>
    all.map((cell) => button(`${column} ${cell.id}`, cell.id, shortName(cell), cell, "bg-surface", cell.id));
  return (
    <section aria-label="ATT&CK" className="flex max-h-2/5 shrink-0 flex-col border-b border-line text-xs">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 px-3 py-1">
        <h2 className="font-medium">ATT&CK {matrix.attack_version}</h2>
        <p className="text-muted">
          {plural(techniques.size, "technique")}
          <span className="max-sm:hidden"> in {plural(found.length, "tactic")}</span>
        </p>
        <span className="flex-1" />
        <Button
          size="small"
          look="ghost"
          aria-pressed={isWhole}
          className="aria-pressed:bg-selected"
          onClick={() => setIsWhole(!isWhole)}
        >
          All tactics
        </Button>
        <a
          className={buttonClass({ size: "small" })}
          href={sessionPath(sessionId, "/attack?format=navigator")}
          download
        >
          <Download size={14} aria-hidden />
          <span className="max-sm:sr-only">Navigator layer</span>
        </a>
      </div>
      <div
        role="group"
        aria-label="Tactics and techniques"
        className="flex min-h-0 items-start gap-1.5 overflow-auto px-3 pb-2"
        onKeyDown={moveFocus}
      >
        {tactics.map((tactic) => (
          <div key={tactic.id} data-column className={columnLook}>
            {tactic.findings === 0 ? (
              <span className="px-1.5 leading-6 text-muted">{tactic.name}</span>
            ) : (
              button(tactic.short_name, tactic.short_name, tactic.name, tactic, "font-medium")
            )}
            {cells(tactic.short_name, tactic.techniques)}
          </div>
        ))}
        {matrix.unplaced.length > 0 && (
          <div data-column className={columnLook}>
            <span className="px-1.5 leading-6 text-muted">No tactic</span>
            {cells("", matrix.unplaced)}
          </div>
        )}
      </div>
    </section>
  );
}

const columnLook = "flex w-44 max-w-64 shrink-0 grow flex-col gap-px rounded-md bg-sunken p-1";

function shortName(cell: AttackCell): string {
  return fullName({ ...cell, parent_name: null });
}

function scoreText({ findings, events, level }: Score): string {
  return `${plural(findings, "finding")}, ${plural(events, "event")}${level === null ? "" : `, ${level}`}`;
}

/** The button that Tab reaches first: the chosen one, or the first. */
function firstKey(tactics: readonly AttackTactic[], chosen: string | undefined): string | undefined {
  const column = tactics.find((tactic) => tactic.techniques.some(({ id }) => id === chosen));
  if (column) return `${column.short_name} ${chosen}`;
  return chosen ?? tactics.find(({ findings }) => findings > 0)?.short_name;
}

/** Moves the focus within its column, or to the same place of a column beside it. */
function moveFocus(event: KeyboardEvent<HTMLElement>) {
  const [dx, dy] = steps[event.key] ?? [0, 0];
  const focused = document.activeElement as HTMLButtonElement;
  const columns = [...event.currentTarget.querySelectorAll("[data-column]")]
    .map((column) => [...column.querySelectorAll("button")])
    .filter((column) => column.length > 0);
  const x = columns.findIndex((column) => column.includes(focused));
  if ((dx === 0 && dy === 0) || x < 0) return;
  event.preventDefault();
  const column = columns[x + dx] ?? [];
  const y = (columns[x]?.indexOf(focused) ?? 0) + dy;
  (dx === 0 ? column[y] : column[Math.min(y, column.length - 1)])?.focus();
}

const steps: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
