import { Download } from "lucide-react";
import { download } from "@/lib/download";
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
