import { Download } from "lucide-react";
import { safeFileName } from "@/lib/text";
import { Button } from "./ui/button";

/** Saves bytes as a file. The browser never opens it, whatever its name is. */
export function DownloadButton({
  bytes,
  name,
  label = "Save",
}: {
  bytes: () => Uint8Array;
  name: string;
  label?: string;
}) {
  return (
    <Button
      look="ghost"
      size="smallIcon"
      aria-label={label}
      title={label}
      onClick={() => download(name, bytes() as BlobPart)}
    >
      <Download size={14} />
    </Button>
  );
}

/** Saves bytes or text as a file. The type of the file makes the browser save it and not open it. */
export function download(name: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = safeFileName(name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
