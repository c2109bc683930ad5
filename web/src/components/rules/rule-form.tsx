import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Copy, Save, Trash2, Undo2 } from "lucide-react";
import { type ReactNode, useId, useState } from "react";
import { Link, useLocation } from "wouter";
import { ApiError, api, call, messageOf, type RuleDetail } from "@/api/client";
import { keys } from "@/api/queries";
import { SafeText } from "@/components/safe-text";
import { Button, buttonClass } from "@/components/ui/button";
import { Confirm } from "@/components/ui/confirm";
import { useNotify } from "@/components/ui/toast";
import { CheckLine } from "./check-line";
import { Conflict } from "./conflict";
import { DeleteRule } from "./delete-rule";
import { useDraft } from "./draft";
import { RuleEditor } from "./rule-editor";
import { RuleTrial, useTrial } from "./rule-trial";
import { newRulePath, rulePath } from "./rules";
import { useRuleCheck } from "./use-rule-check";

interface Props {
  /** The rule; undefined for a new one. */
  rule?: RuleDetail;
  /** The text that a new rule begins with. */
  start?: string;
  /** The name under which this browser keeps the text until it is saved. */
  draftName: string;
  /** What is known of the rule, beside its text. */
  children?: ReactNode;
}

/** A rule's text with what the backend says of it. Only rules of users can be changed. */
export function RuleForm({ rule, start = "", draftName, children }: Props) {
  const isReadOnly = rule !== undefined && rule.source !== "user";
  const [draft, setDraft] = useDraft(draftName);
  const [discards, setDiscards] = useState(0);
  // Whether the user is asked to discard the text, and the rule of another user that takes its place.
  const [discarding, setDiscarding] = useState<{ instead?: RuleDetail }>();
  const [isDeleting, setDeleting] = useState(false);
  const [, navigate] = useLocation();
  const status = useId();
  const saved = rule?.text ?? start;
  const text = isReadOnly ? saved : (draft?.text ?? saved);
  const check = useRuleCheck(text);
  const trial = useTrial(text);
  const queries = useQueryClient();
  const discard = (instead?: RuleDetail) => {
    if (instead) queries.setQueryData(keys.rule(instead.rule_id), instead);
    setDiscarding(undefined);
    setDraft(undefined);
    setDiscards(discards + 1);
    save.reset();
  };
  const save = useSave(rule, (stored, sent) => {
    if (!rule) {
      setDraft(undefined);
      navigate(rulePath(stored.rule_id), { replace: true });
    } else if (sent === text) setDraft(undefined);
    else setDraft({ text, version: stored.rule_version });
  });
  const run = (version = draft?.version) => {
    if (!isReadOnly && !save.isPending && (draft || !rule)) save.mutate({ text, version });
  };
  const isConflict = rule !== undefined && save.error instanceof ApiError && save.error.status === 409;
  return (
    <div className="flex min-h-0 flex-1 gap-4 overflow-y-auto p-4 max-md:flex-col">
      <div className="flex min-h-80 min-w-0 flex-1 flex-col gap-2 max-md:min-h-[60vh] max-md:flex-none">
        <div className="flex flex-wrap items-center gap-2">
          {!isReadOnly && (
            <Button
              look="primary"
              size="small"
              title="Ctrl+S in the editor"
              disabled={save.isPending || (rule !== undefined && !draft)}
              onClick={() => run()}
            >
              <Save size={14} aria-hidden /> Save
            </Button>
          )}
          {!isReadOnly && draft && (
            <Button size="small" onClick={() => setDiscarding({})}>
              <Undo2 size={14} aria-hidden /> Discard the changes
            </Button>
          )}
          {rule && (
            <Link href={newRulePath(rule.rule_id)} className={buttonClass({ size: "small" })}>
              <Copy size={14} aria-hidden /> Copy into a new rule
            </Link>
          )}
          {rule && !isReadOnly && (
            <Button size="small" onClick={() => setDeleting(true)}>
              <Trash2 size={14} aria-hidden /> Delete
            </Button>
          )}
          <span className="text-xs text-muted">
            {isReadOnly ? "This rule cannot be changed here." : draft ? "Not saved yet." : ""}
          </span>
        </div>
        {isConflict && (
          <Conflict
            ruleId={rule.rule_id}
            onOverwrite={(current) => run(current.rule_version)}
            onDiscard={(instead) => setDiscarding({ instead })}
          />
        )}
        {save.isError && !isConflict && (
          <p role="alert" className="text-xs break-words text-bad">
            <SafeText text={`Not saved: ${messageOf(save.error)}`} />
          </p>
        )}
        <RuleEditor
          text={text}
          revision={`${discards} ${rule?.rule_version ?? ""}`}
          fault={check.fault}
          isReadOnly={isReadOnly}
          attributes={{
            "aria-label": "Rule",
            "aria-describedby": status,
            ...(check.error ? { "aria-invalid": "true" } : {}),
          }}
          onChange={(next) =>
            setDraft(
              next === saved ? undefined : { text: next, version: draft?.version ?? rule?.rule_version },
            )
          }
          onSave={() => run()}
          onTest={trial.start}
        />
        <CheckLine check={check} id={status} />
      </div>
      <aside aria-label="About the rule" className="flex w-96 shrink-0 flex-col gap-4 max-md:w-full">
        {children}
        <RuleTrial trial={trial} />
      </aside>
      {discarding && (
        <Confirm
          title="Discard your changes?"
          action="Discard"
          onConfirm={() => discard(discarding.instead)}
          onClose={() => setDiscarding(undefined)}
        >
          Your changes of this rule, which only this browser has, will be lost.
        </Confirm>
      )}
      {isDeleting && rule && (
        <DeleteRule
          rule={rule}
          onClose={() => setDeleting(false)}
          onDeleted={() => {
            setDraft(undefined);
            navigate("/rules");
          }}
        />
      )}
    </div>
  );
}

/** Stores the text: of a new rule, or of the rule if it still has the version. */
function useSave(rule: RuleDetail | undefined, onSaved: (stored: RuleDetail, sent: string) => void) {
  const queries = useQueryClient();
  const notify = useNotify();
  return useMutation({
    mutationFn: ({ text, version }: { text: string; version?: string }) =>
      call(
        rule
          ? api.PUT("/api/rules/{ruleId}", {
              params: {
                path: { ruleId: rule.rule_id },
                query: { rule_version: version ?? rule.rule_version },
              },
              body: { text },
            })
          : api.POST("/api/rules", { body: { text } }),
      ),
    onSuccess: (stored, { text }) => {
      notify("The rule is saved. It is being applied to all events.");
      queries.setQueryData(keys.rule(stored.rule_id), stored);
      void queries.invalidateQueries({ queryKey: keys.rules, exact: true });
      onSaved(stored, text);
    },
  });
}
