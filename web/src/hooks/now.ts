import { useEffect, useState } from "react";

/** The present time, in milliseconds since 1970. It rerenders so that ages and durations on screen stay true. */
export function useNow(everyMillis: number, isTicking = true): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!isTicking) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMillis);
    return () => clearInterval(timer);
  }, [everyMillis, isTicking]);
  return now;
}
