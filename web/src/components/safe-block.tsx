import { Fragment, useState } from "react";
import { formatBytes } from "@/lib/number";
import { SafeText } from "./safe-text";
import { Button } from "./ui/button";

const step = 20_000;

/** Multi-line text. It is drawn in parts, with line breaks and with hidden characters marked. */
export function SafeBlock({ text, className = "" }: { text: string; className?: string }) {
  const [limit, setLimit] = useState(step);
  const lines = text.slice(0, limit).split(/\r?\n/);
  return (
    <div className={`overflow-auto rounded border border-line bg-sunken p-2 font-mono text-xs ${className}`}>
      <div className="break-all whitespace-pre-wrap">
        {lines.map((line, index) => (
          <Fragment key={index}>
            {index > 0 && "\n"}
            <SafeText text={line.replaceAll("\t", "    ")} limit={step} />
          </Fragment>
        ))}
      </div>
      {text.length > limit && (
        <Button size="small" className="mt-2" onClick={() => setLimit(limit * 4)}>
          Show more ({formatBytes(text.length - limit)} left)
        </Button>
      )}
    </div>
  );
}
