import { CopyButton } from "@/components/copy-button";

interface Props {
  text: string;
  what?: "key" | "command";
  hint?: string;
}

/** A new key, or a command with a token, which cannot be shown again. */
export function ShownKey({ text, what = "key", hint = "It is not shown again." }: Props) {
  return (
    <div className="flex flex-col gap-2">
      <p>
        Copy the {what} now. {hint}
      </p>
      <p className="flex items-center gap-1 rounded-md border border-line bg-sunken py-1 pr-1 pl-3">
        <code data-testid={what} className="min-w-0 flex-1 font-mono text-sm break-all select-all">
          {text}
        </code>
        <CopyButton text={text} label={`Copy the ${what}`} />
      </p>
    </div>
  );
}
