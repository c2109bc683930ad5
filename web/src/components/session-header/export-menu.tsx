import { Download } from "lucide-react";
import { sessionPath } from "@/api/base";
import type { ExportFormat, Session } from "@/api/client";
import { Button } from "@/components/ui/button";
import { Menu, MenuLabel, MenuLine, MenuLink } from "@/components/ui/menu";
import { useView } from "@/hooks/view";

const formats: Record<Exclude<ExportFormat, "bundle">, string> = {
  ndjson: "NDJSON, one event per line",
  json: "JSON, one array",
  csv: "CSV, for spreadsheets",
  har: "HAR, the HTTP flows",
  ecs: "Elastic Common Schema",
};

/** Downloads the selected events in any format of the API. */
export function ExportMenu({ session }: { session: Session }) {
  const { filter } = useView();
  const path = (query: string) =>
    sessionPath(
      session.id,
      `/export?${query}${filter === "" ? "" : `&filter=${encodeURIComponent(filter)}`}`,
    );
  return (
    <Menu
      trigger={
        <Button>
          <Download size={14} aria-hidden />
          <span className="max-sm:sr-only">Export</span>
        </Button>
      }
    >
      <MenuLabel>{filter === "" ? "All events" : "The events on screen"}</MenuLabel>
      {Object.entries(formats).map(([format, label]) => (
        <MenuLink key={format} href={path(`format=${format}`)} download>
          {label}
        </MenuLink>
      ))}
      <MenuLine />
      <MenuLabel>The session, for import elsewhere</MenuLabel>
      <MenuLink href={sessionPath(session.id, "/export?format=bundle")} download>
        Bundle
      </MenuLink>
      {session.file_sha256 && (
        <MenuLink href={sessionPath(session.id, "/export?format=bundle&file=true")} download>
          Bundle with the file
        </MenuLink>
      )}
    </Menu>
  );
}
