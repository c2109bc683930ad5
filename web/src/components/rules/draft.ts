import { useState } from "react";
import { readStored, writeStored } from "@/hooks/stored";

/** A text that is not saved yet. */
export interface Draft {
  text: string;
  /** The version of the rule that the user began to change; undefined for a new rule. */
  version?: string;
}

/** The unsaved text of a rule, which this browser keeps under a name. */
export function useDraft(draftName: string): [Draft | undefined, (next: Draft | undefined) => void] {
  const name = `ospulse.draft.${draftName}`;
  const [draft, setDraft] = useState((): Draft | undefined => {
    const stored = readStored<Partial<Draft>>(name);
    if (typeof stored?.text !== "string") return undefined;
    return { text: stored.text, version: typeof stored.version === "string" ? stored.version : undefined };
  });
  return [
    draft,
    (next) => {
      setDraft(next);
      writeStored(name, next);
    },
  ];
}

/** The text of a copy of a rule: without its ID, which another rule cannot have. */
export function copyOf(text: string): string {
  return text.replace(/^id[ \t]*:.*(?:\r?\n|$)/m, "");
}

/** The text that a new rule begins with. */
export const newText = `title: A program that is named example starts
logsource:
  category: process_creation
detection:
  selection:
    Image|endswith: /example
  condition: selection
level: medium
tags:
  - attack.execution
`;
