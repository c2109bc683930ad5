import { type ReactNode, useRef } from "react";
import { Button } from "@/components/ui/button";

interface Props {
  onFiles: (files: File[]) => void;
  accept?: string;
  look?: "primary" | "plain";
  id?: string;
  children: ReactNode;
}

/** A button that lets the reader choose files. */
export function FileButton({ onFiles, accept, look, id, children }: Props) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button id={id} look={look} onClick={() => input.current?.click()}>
        {children}
      </Button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        accept={accept}
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = "";
          if (files.length > 0) onFiles(files);
        }}
      />
    </>
  );
}
