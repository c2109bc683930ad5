import { ArrowLeftRight, BookOpen, FileText, GitBranch, Globe, List, ShieldAlert } from "lucide-react";
import { useEffect, useRef } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { useShortcut } from "@/hooks/shortcuts";
import { type ViewName, viewNames, viewPath } from "@/lib/view";

const tabs: Record<ViewName, { label: string; icon: typeof List }> = {
  summary: { label: "Summary", icon: BookOpen },
  events: { label: "Events", icon: List },
  processes: { label: "Processes", icon: GitBranch },
  files: { label: "Files", icon: FileText },
  http: { label: "HTTP", icon: Globe },
  network: { label: "Network", icon: ArrowLeftRight },
  findings: { label: "Findings", icon: ShieldAlert },
};

/** The tabs of a session's views, which share the selection. */
export function ViewTabs({ sessionId, current }: { sessionId: string; current: ViewName }) {
  const search = useSearch();
  return (
    <nav
      aria-label="Views"
      className="flex max-w-full gap-0.5 overflow-x-auto [scrollbar-width:none] max-sm:gap-0"
    >
      {viewNames.map((name, index) => (
        <Tab
          key={name}
          name={name}
          shortcut={String(index)}
          href={viewPath(sessionId, name, search)}
          isCurrent={name === current}
        />
      ))}
    </nav>
  );
}

function Tab({
  name,
  shortcut,
  href,
  isCurrent,
}: {
  name: ViewName;
  shortcut: string;
  href: string;
  isCurrent: boolean;
}) {
  const { label, icon: Icon } = tabs[name];
  const [, navigate] = useLocation();
  useShortcut(shortcut, label, "Views", () => navigate(href));
  // On narrow screens the tabs may be wider than the page.
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    if (isCurrent) link.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [isCurrent]);
  return (
    <Link
      ref={link}
      href={href}
      aria-current={isCurrent ? "page" : undefined}
      title={`${label} (${shortcut})`}
      className={`flex h-8 shrink-0 items-center gap-1.5 rounded-md px-2.5 max-sm:px-1 max-sm:text-2xs ${isCurrent ? "bg-selected font-medium text-accent" : "text-muted hover:bg-hover hover:text-ink"}`}
    >
      <Icon size={15} className="max-sm:hidden" aria-hidden />
      {label}
    </Link>
  );
}
