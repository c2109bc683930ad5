import { CircleAlert, LoaderCircle } from "lucide-react";
import type { ReactNode } from "react";
import { messageOf } from "@/api/client";
import { Button } from "./button";

interface Props {
  icon?: ReactNode;
  title: ReactNode;
  /** What to do next. */
  children?: ReactNode;
}

/** An empty view: a title, and what the reader can do. */
export function EmptyState({ icon, title, children }: Props) {
  return (
    <div className="flex min-h-0 flex-1 flex-col items-center justify-center gap-2 px-6 py-12 text-center">
      {icon && <div className="text-muted">{icon}</div>}
      <p className="text-base font-medium">{title}</p>
      {children && <div className="max-w-prose text-muted">{children}</div>}
    </div>
  );
}

/** A failure: the error's message, and a button to retry. */
export function ErrorState({ error, retry }: { error: unknown; retry?: () => void }) {
  return (
    <div role="alert" className="flex flex-col items-center justify-center gap-3 px-6 py-12 text-center">
      <CircleAlert className="text-bad" size={28} aria-hidden />
      <p className="max-w-prose break-words">{messageOf(error)}</p>
      {retry && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** A view that is loading. */
export function LoadingState({ label = "Loading" }: { label?: string }) {
  return (
    <div role="status" className="flex items-center justify-center gap-2 px-6 py-12 text-muted">
      <LoaderCircle size={16} className="animate-spin motion-reduce:animate-none" aria-hidden />
      <span>{label}…</span>
    </div>
  );
}
