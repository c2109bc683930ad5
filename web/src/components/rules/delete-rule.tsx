import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call, type Rule } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import { titleOf } from "./rules";

interface Props {
  rule: Rule;
  onClose: () => void;
  onDeleted: () => void;
}

/** Asks for confirmation before it deletes a user's rule, because that cannot be undone. */
export function DeleteRule({ rule, onClose, onDeleted }: Props) {
  const queries = useQueryClient();
  const notify = useNotify();
  const remove = useMutation({
    mutationFn: () => call(api.DELETE("/api/rules/{ruleId}", { params: { path: { ruleId: rule.rule_id } } })),
    onSuccess: () => {
      notify("The rule is deleted.");
      onClose();
      onDeleted();
      void queries.invalidateQueries({ queryKey: keys.rules, exact: true });
    },
  });
  return (
    <Confirm
      title="Delete this rule?"
      action="Delete"
      onConfirm={() => remove.mutate()}
      onClose={onClose}
      isPending={remove.isPending}
      error={remove.error}
    >
      <SafeText text={titleOf(rule)} limit={200} className="font-medium break-words" /> will be permanently
      deleted, with its findings in all sessions. To keep its text, turn it off.
    </Confirm>
  );
}
