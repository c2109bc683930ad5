import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { Button } from "./ui/button";

/** Copies text, and briefly confirms it, also for screen readers. */
export function CopyButton({ text, label = "Copy" }: { text: string | (() => string); label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(typeof text === "string" ? text : text());
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <Button
      look="ghost"
      size="smallIcon"
      aria-label={copied ? "Copied" : label}
      title={label}
      onClick={() => void copy()}
    >
      {copied ? <Check size={14} className="text-good" /> : <Copy size={14} />}
    </Button>
  );
}

/** Copies text, also without a secure context, which the Clipboard API needs. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
