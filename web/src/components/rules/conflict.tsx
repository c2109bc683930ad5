import { useQuery } from "@tanstack/react-query";
import { api, call, messageOf, type RuleDetail } from "@/api/client";
import { SafeBlock } from "@/components/safe-block";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";

interface Props {
  ruleId: string;
  /** Called with the rule as it is stored now. */
  onOverwrite: (current: RuleDetail) => void;
  /** Called with the same when the user gives up the own text. */
  onDiscard: (current: RuleDetail) => void;
}

/** Says that another user changed the rule, and shows their text. The caller keeps the user's own. */
export function Conflict({ ruleId, onOverwrite, onDiscard }: Props) {
  const { data: current, error } = useQuery({
    queryKey: ["rule-conflict", ruleId],
    queryFn: ({ signal }) => call(api.GET("/api/rules/{ruleId}", { params: { path: { ruleId } }, signal })),
    gcTime: 0,
    staleTime: 0,
  });
  return (
    <div role="alert" className="flex flex-col gap-2 rounded-md border border-bad bg-bad-soft p-2 text-xs">
      <p>Not saved: another user changed the rule meanwhile. Your text is kept below.</p>
      {error && <SafeText text={messageOf(error)} className="text-bad" />}
      {current && (
        <>
          <details>
            <summary>The rule as it is stored now</summary>
            <SafeBlock text={current.text} className="mt-1 max-h-60" />
          </details>
          <div className="flex flex-wrap gap-2">
            <Button size="small" onClick={() => onOverwrite(current)}>
              Replace it with my text
            </Button>
            <Button size="small" onClick={() => onDiscard(current)}>
              Discard my text
            </Button>
          </div>
        </>
      )}
    </div>
  );
}
