import type { Level } from "@/api/client";
import { inputClass } from "@/components/ui/field";
import { levels } from "./level";

interface Props {
  id?: string;
  label: string;
  /** The option that selects all. */
  any: string;
  level: Level | undefined;
  className?: string;
  onChange: (level: Level | undefined) => void;
}

/** Chooses a level of findings; those above it are meant, too. */
export function LevelSelect({ id, label, any, level, className = "", onChange }: Props) {
  return (
    <select
      id={id}
      aria-label={label}
      value={level ?? ""}
      onChange={({ target: { value } }) => onChange(levels.find((one) => one === value))}
      className={`${inputClass} h-8 ${className}`}
    >
      <option value="">{any}</option>
      {levels.slice(0, -1).map((one, index) => (
        <option key={one} value={one}>
          {index === 0 ? one : `${one} and above`}
        </option>
      ))}
    </select>
  );
}
