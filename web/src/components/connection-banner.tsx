import { CloudOff, HardDriveDownload } from "lucide-react";
import { useConnection } from "@/hooks/connection";
import { useSettings } from "@/hooks/settings";
import { diskWarning } from "@/lib/disk";
import { clock } from "./timeline/clock";

/** Shows the faults of the backend while they last. */
export function ConnectionBanner() {
  const { health, lostSince } = useConnection();
  const { zone } = useSettings();
  if (lostSince !== undefined) {
    return (
      <p role="alert" className="flex items-center gap-2 bg-bad-soft px-4 py-1.5 text-bad">
        <CloudOff size={16} className="shrink-0" aria-hidden />
        <span>
          The backend has been unreachable since {clock(lostSince * 1000, 1e6, zone)}. The page keeps what it
          shows, and continues without a gap when the backend returns.
        </span>
      </p>
    );
  }
  const disk = health && diskWarning(health);
  const faults = Object.entries(health?.checks ?? {})
    .filter(([check, state]) => state !== "ok" && !(disk && check === "disk"))
    .map(([check, state]) => `${check}: ${state}`);
  if (disk) faults.unshift(disk);
  if (faults.length === 0) return null;
  return (
    <p role="alert" className="flex items-center gap-2 bg-warn-soft px-4 py-1.5 text-warn">
      <HardDriveDownload size={16} className="shrink-0" aria-hidden />
      <span>{faults.join(" · ")}</span>
    </p>
  );
}
