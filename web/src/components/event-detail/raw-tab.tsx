import { useState } from "react";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { formatBytes } from "@/lib/number";

const step = 20_000;
const most = 500_000;

/** The exact text of the event, shown in parts. */
export function RawTab({ text }: { text: string }) {
  const [shown, setShown] = useState({ text, length: step });
  if (shown.text !== text) setShown({ text, length: step });
  const parts = [];
  for (let from = 0; from < Math.min(shown.length, text.length); from += step)
    parts.push(text.slice(from, from + step));
  return (
    <div className="min-h-0 flex-1 overflow-auto p-3">
      <pre className="font-mono text-xs break-all whitespace-pre-wrap">
        {parts.map((part, index) => (
          <SafeText key={index} text={part} limit={step} />
        ))}
      </pre>
      {shown.length < text.length && (
        <p className="mt-3 flex items-center gap-3 text-xs text-muted">
          {shown.length < most ? (
            <Button size="small" onClick={() => setShown({ text, length: shown.length * 2 })}>
              Show more
            </Button>
          ) : (
            "Download the event to read the rest."
          )}
          {formatBytes(text.length)} in all
        </p>
      )}
    </div>
  );
}
