import { Field, Input, inputClass } from "@/components/ui/field";
import { formatCount } from "@/lib/number";
import { formatDuration } from "@/lib/time";
import {
  type Draft,
  networkNames,
  networkOf,
  networkRule,
  networks,
  numberIn,
  type StartOptions,
} from "./start-limits";

interface Props {
  /** Null if the agent does not report them, and undefined while they are loading. */
  options: StartOptions | null | undefined;
  draft: Draft;
  onChange: (draft: Draft) => void;
}

/** The network, the time and the memory that a sample gets, within what the agent's owner allows. */
export function LimitFields({ options, draft, onChange }: Props) {
  if (options === undefined) return null;
  if (options === null) {
    return (
      <p className="text-xs text-muted">
        This agent does not report its network, time limit and memory for samples. Its own settings apply.
      </p>
    );
  }
  const network = networkOf(draft, options);
  const { timeout_seconds: seconds, min_memory_mb: least, memory_mb: most } = options;
  const rule = networkRule(options);
  return (
    <>
      <Field
        label="Network"
        hint={
          <>
            {network && networks[network].hint} {rule}
          </>
        }
      >
        <select
          value={network}
          onChange={(event) =>
            onChange({ ...draft, network: networkNames.find((name) => name === event.target.value) })
          }
          className={`${inputClass} h-8`}
        >
          {networkNames.map((name) => (
            <option key={name} value={name} disabled={!options.networks?.includes(name)}>
              {networks[name].label}
            </option>
          ))}
        </select>
      </Field>
      <div className="grid grid-cols-2 gap-3">
        <Field label="Time limit, in seconds" hint={`At most ${formatDuration(seconds * 1e6)}.`}>
          <Input
            inputMode="numeric"
            value={draft.seconds ?? ""}
            placeholder={String(seconds)}
            aria-invalid={numberIn(draft.seconds, 1, seconds) === null}
            onChange={(event) => onChange({ ...draft, seconds: event.target.value.trim() })}
          />
        </Field>
        <Field
          label="Memory, in MB"
          hint={least < most ? `From ${formatCount(least)} to ${formatCount(most)}.` : undefined}
        >
          <Input
            inputMode="numeric"
            value={draft.megabytes ?? ""}
            placeholder={String(most)}
            aria-invalid={numberIn(draft.megabytes, least, most) === null}
            onChange={(event) => onChange({ ...draft, megabytes: event.target.value.trim() })}
          />
        </Field>
      </div>
    </>
  );
}
