import { Download } from "lucide-react";
import { safeFileName } from "@/lib/text";
import { Button } from "./ui/button";

/** Saves bytes as a file that nothing opens by itself, whatever its name says. */
export function DownloadButton({
  bytes,
  name,
  label = "Save",
}: {
  bytes: () => Uint8Array;
  name: string;
  label?: string;
}) {
  const save = () => {
    const url = URL.createObjectURL(new Blob([bytes() as BlobPart], { type: "application/octet-stream" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = safeFileName(name);
    link.click();
    // The download has its own hold on the bytes by then.
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  return (
    <Button look="ghost" size="smallIcon" aria-label={label} title={label} onClick={save}>
      <Download size={14} />
    </Button>
  );
}
