import { Activity, ListChecks, Settings2, ShieldAlert } from "lucide-react";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { basePath } from "@/api/base";
import { useSettings } from "@/hooks/settings";
import { useShortcut } from "@/hooks/shortcuts";
import { zoneName } from "@/lib/time";
import { AccountItems } from "./account-items";
import { AgentStatus } from "./agent-status";
import { ShortcutSheet } from "./shortcut-sheet";
import { Button } from "./ui/button";
import { Menu, MenuCheck, MenuItem, MenuLabel, MenuLine, MenuLink } from "./ui/menu";

const themes = { system: "System", light: "Light", dark: "Dark" } as const;

export function AppHeader() {
  const { theme, zone, change } = useSettings();
  const [showsKeys, setShowsKeys] = useState(false);
  useShortcut("?", "Show the keyboard shortcuts", "Everywhere", () => setShowsKeys(true));
  const [, navigate] = useLocation();
  useShortcut("g", "Go to the sessions", "Everywhere", () => navigate("/"));
  useShortcut("t", "Change the theme", "Everywhere", () => change({ theme: isDark() ? "light" : "dark" }));
  useShortcut("u", "Times in UTC or local time", "Everywhere", () =>
    change({ zone: zone === "utc" ? "local" : "utc" }),
  );
  return (
    <header className="flex h-11 max-sm:h-10 shrink-0 items-center gap-3 border-b border-line bg-surface px-3">
      <Link href="/" className="flex items-center gap-2 rounded font-semibold whitespace-nowrap">
        <Activity size={18} className="text-accent" aria-hidden />
        OS-Pulse
      </Link>
      <nav aria-label="Pages" className="flex flex-1 gap-0.5">
        <PageLink href="/findings" label="Findings" shortcut="F" icon={ShieldAlert} />
        <PageLink href="/rules" label="Rules" shortcut="R" icon={ListChecks} />
      </nav>
      <AgentStatus />
      <Menu
        trigger={
          <Button look="ghost" size="small" aria-label={`Settings, ${zoneName(zone)}`}>
            <Settings2 size={16} />
            <span className="hidden sm:inline">{zoneName(zone)}</span>
          </Button>
        }
      >
        <MenuLabel>Times</MenuLabel>
        <MenuCheck checked={zone === "local"} onChange={() => change({ zone: "local" })}>
          Local ({zoneName("local")})
        </MenuCheck>
        <MenuCheck checked={zone === "utc"} onChange={() => change({ zone: "utc" })}>
          UTC
        </MenuCheck>
        <MenuLine />
        <MenuLabel>Theme</MenuLabel>
        {(Object.keys(themes) as (keyof typeof themes)[]).map((name) => (
          <MenuCheck key={name} checked={theme === name} onChange={() => change({ theme: name })}>
            {themes[name]}
          </MenuCheck>
        ))}
        <MenuLine />
        <MenuItem onSelect={() => setShowsKeys(true)}>
          Keyboard shortcuts <kbd className="ml-auto font-mono text-xs text-muted">?</kbd>
        </MenuItem>
        <MenuLink href={`${basePath}/api/docs`}>API docs</MenuLink>
        <AccountItems />
      </Menu>
      <ShortcutSheet open={showsKeys} onClose={() => setShowsKeys(false)} />
    </header>
  );
}

function PageLink({
  href,
  label,
  shortcut,
  icon: Icon,
}: {
  href: string;
  label: string;
  shortcut: string;
  icon: typeof Activity;
}) {
  const [location, navigate] = useLocation();
  useShortcut(shortcut, `Go to the ${label.toLowerCase()}`, "Everywhere", () => navigate(href));
  const isCurrent = location === href || location.startsWith(`${href}/`);
  return (
    <Link
      href={href}
      aria-current={isCurrent ? "page" : undefined}
      title={`${label} (${shortcut})`}
      className={`flex h-7 items-center gap-1.5 rounded-md px-2 text-xs ${isCurrent ? "bg-selected font-medium text-accent" : "text-muted hover:bg-hover hover:text-ink"}`}
    >
      <Icon size={15} aria-hidden />
      <span className="max-sm:sr-only">{label}</span>
    </Link>
  );
}

function isDark(): boolean {
  return (
    getComputedStyle(document.documentElement).colorScheme === "dark" ||
    (document.documentElement.dataset.theme === undefined &&
      matchMedia("(prefers-color-scheme: dark)").matches)
  );
}
