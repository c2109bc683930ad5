import { messageOf } from "@/api/client";
import { SafeText } from "@/components/safe-text";
import { limitOf } from "./rules";
import type { useRuleCheck } from "./use-rule-check";

/** What the backend says of the text: the line and the reason of a fault, or that the rule can run. */
export function CheckLine({ check, id }: { check: ReturnType<typeof useRuleCheck>; id: string }) {
  const { rule, fault, error, isCurrent } = check;
  const place = fault?.line === undefined ? "" : `Line ${fault.line}: `;
  const limit = rule ? limitOf(rule) : "";
  return (
    <p id={id} role="status" className="min-h-5 text-xs break-words text-muted">
      {!isCurrent || (!rule && !error) ? (
        "Checking…"
      ) : error ? (
        <SafeText text={place + (fault?.reason ?? messageOf(error))} limit={1000} className="text-bad" />
      ) : rule?.state === "cannot_run" ? (
        <SafeText text={`The rule is valid, but cannot run. ${limit}.`} limit={500} className="text-warn" />
      ) : (
        <>The rule is valid. {limit && <SafeText text={`${limit}.`} limit={500} />}</>
      )}
    </p>
  );
}
