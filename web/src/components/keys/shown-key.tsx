import { CopyButton } from "@/components/copy-button";

/** A new key, which cannot be shown again. */
export function ShownKey({ text }: { text: string }) {
  return (
    <div className="flex flex-col gap-2">
      <p>Copy the key now. It is not shown again.</p>
      <p className="flex items-center gap-1 rounded-md border border-line bg-sunken py-1 pr-1 pl-3">
        <code data-testid="key" className="min-w-0 flex-1 font-mono text-sm break-all select-all">
          {text}
        </code>
        <CopyButton text={text} label="Copy the key" />
      </p>
    </div>
  );
}
