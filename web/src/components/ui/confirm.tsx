import type { ReactNode } from "react";
import { messageOf } from "@/api/client";
import { Button } from "./button";
import { Dialog } from "./dialog";

interface Props {
  title: string;
  /** The name of the button that does it. */
  action: string;
  /** What will be lost. */
  children: ReactNode;
  onConfirm: () => void;
  onClose: () => void;
  isPending?: boolean;
  /** Why it failed. */
  error?: unknown;
}

/** Asks before it does what cannot be undone. */
export function Confirm({ title, action, children, onConfirm, onClose, isPending, error }: Props) {
  return (
    <Dialog
      open
      onClose={onClose}
      title={title}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="danger" disabled={isPending} onClick={onConfirm}>
            {action}
          </Button>
        </>
      }
    >
      <p>{children}</p>
      {error != null && (
        <p role="alert" className="mt-2 text-bad">
          {messageOf(error)}
        </p>
      )}
    </Dialog>
  );
}
