import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call, messageOf, type Rule } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
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
    <Dialog
      open
      onClose={onClose}
      title="Delete this rule?"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="danger" disabled={remove.isPending} onClick={() => remove.mutate()}>
            Delete
          </Button>
        </>
      }
    >
      <p>
        <SafeText text={titleOf(rule)} limit={200} className="font-medium break-words" /> will be permanently
        deleted, with its findings in all sessions. To keep its text, turn it off.
      </p>
      {remove.isError && (
        <p role="alert" className="mt-2 text-bad">
          {messageOf(remove.error)}
        </p>
      )}
    </Dialog>
  );
}
