import { FileUp } from "lucide-react";
import { useEffect, useState } from "react";
import { useUploads } from "@/hooks/uploads";

/** Accepts files that are dropped anywhere on the page, and shows so during a drag. */
export function DropZone() {
  const { send } = useUploads();
  const [over, setOver] = useState(false);
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length > 0) send(files, "target");
    };
    document.addEventListener("dragenter", enter);
    document.addEventListener("dragover", enter);
    document.addEventListener("dragleave", leave);
    document.addEventListener("drop", drop);
    return () => {
      document.removeEventListener("dragenter", enter);
      document.removeEventListener("dragover", enter);
      document.removeEventListener("dragleave", leave);
      document.removeEventListener("drop", drop);
    };
  }, [send]);
  if (!over) return null;
  return (
    <div className="pointer-events-none fixed inset-2 z-50 grid place-items-center rounded-lg border-2 border-dashed border-accent bg-page/90">
      <p className="flex items-center gap-3 text-lg">
        <FileUp className="text-accent" aria-hidden />
        Drop the file to make a session. It is stored, and runs only when you press Start.
      </p>
    </div>
  );
}
