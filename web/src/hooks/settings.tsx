import { createContext, type ReactNode, useContext, useLayoutEffect, useMemo } from "react";
import type { Zone } from "@/lib/time";
import { useStored } from "./stored";

/** The reader's choices, stored in this browser. */
interface Settings {
  theme: "system" | "light" | "dark";
  zone: Zone;
  /** ID of the agent for uploads; "" for the backend's own. */
  agent: string;
}

interface SettingsState extends Settings {
  change: (part: Partial<Settings>) => void;
}

const defaults: Settings = { theme: "system", zone: "local", agent: "" };
const Context = createContext<SettingsState>({ ...defaults, change: () => {} });

function parse(stored: unknown): Settings {
  const { theme, zone, agent } = Object(stored) as Partial<Settings>;
  return {
    theme: theme === "light" || theme === "dark" ? theme : defaults.theme,
    zone: zone === "utc" ? "utc" : defaults.zone,
    agent: typeof agent === "string" ? agent : defaults.agent,
  };
}

/** The reader's choices, and a function that changes them. Without a SettingsProvider, the defaults. */
export function useSettings(): SettingsState {
  return useContext(Context);
}

/** Keeps the reader's choices, and shows the page in the chosen theme. */
export function SettingsProvider({ children }: { children: ReactNode }) {
  const [settings, update] = useStored("ospulse.settings", parse);
  const { theme } = settings;
  // Before the page is drawn, and before effects read its colors.
  useLayoutEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
  const state = useMemo(
    () => ({ ...settings, change: (part: Partial<Settings>) => update((now) => ({ ...now, ...part })) }),
    [settings, update],
  );
  return <Context value={state}>{children}</Context>;
}
