import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useMay } from "@/api/actor";
import { api, call, messageOf, type Rule } from "@/api/client";
import { keys } from "@/api/queries";
import { useNotify } from "@/components/ui/toast";
import { plainText } from "@/lib/text";
import { titleOf } from "./rules";

/** Turns a rule on or off, for all users. */
export function RuleSwitch({ rule }: { rule: Rule }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const turn = useMutation({
    mutationFn: (enabled: boolean) =>
      call(
        api.PUT("/api/rules/{ruleId}/enabled", {
          params: { path: { ruleId: rule.rule_id } },
          body: { enabled },
        }),
      ),
    onSuccess: (changed) => {
      queries.setQueryData<Rule[]>(keys.rules, (all) =>
        all?.map((other) => (other.rule_id === changed.rule_id ? changed : other)),
      );
      void queries.invalidateQueries({ queryKey: keys.rules });
    },
    onError: (error) => notify(messageOf(error), { bad: true }),
  });
  const may = useMay("admin");
  const isOn = turn.isPending ? turn.variables : rule.enabled;
  return (
    <button
      type="button"
      role="switch"
      aria-checked={isOn}
      aria-label={`Apply ${plainText(titleOf(rule), 200)}`}
      title={!may ? "Only an admin may turn rules on or off" : isOn ? "Turn off" : "Turn on"}
      disabled={!may}
      aria-busy={turn.isPending} // a disabled button would lose the focus
      className="relative z-1 flex h-6 w-9 items-center"
      onClick={(event) => {
        event.stopPropagation();
        if (!turn.isPending) turn.mutate(!rule.enabled);
      }}
    >
      <span
        className={`flex h-4.5 w-full items-center rounded-full border px-px ${isOn ? "justify-end border-accent bg-accent" : "border-line-strong bg-page"}`}
      >
        <span className={`size-3.5 rounded-full ${isOn ? "bg-accent-ink" : "bg-line-strong"}`} />
      </span>
    </button>
  );
}
