import { useSettings } from "@/hooks/settings";
import { formatClock } from "@/lib/time";

/** The time of the day, with three or six digits after the seconds. */
export function Clock({ at, digits = 3 }: { at: string; digits?: 3 | 6 }) {
  const { zone } = useSettings();
  return formatClock(at, zone).slice(0, 9 + digits);
}
