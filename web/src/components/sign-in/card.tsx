import { Activity } from "lucide-react";
import type { ReactNode } from "react";

/** The frame of the sign-in page. */
export function SignInCard({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="flex w-full max-w-md flex-col gap-4 rounded-lg border border-line bg-surface p-6">
      <p className="flex items-center gap-2 font-semibold">
        <Activity size={18} className="text-accent" aria-hidden />
        OS-Pulse
      </p>
      <h1 className="text-lg font-semibold">{title}</h1>
      {children}
    </div>
  );
}
