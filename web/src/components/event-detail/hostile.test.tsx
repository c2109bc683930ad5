import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import type { ReactNode } from "react";
import { expect, test } from "vitest";
import type { ListedEvent } from "@/api/client";
import { readEvent } from "@/api/event";
import { addDataColumn, defaultColumns } from "@/components/event-table/columns";
import { ColumnsProvider } from "@/components/event-table/columns-provider";
import { EventHeader, useEventColumns } from "@/components/event-table/event-header";
import { EventRow } from "@/components/event-table/event-row";
import { listStep, TreeReader } from "@/components/json-tree/rows";
import { JsonTreeRow } from "@/components/json-tree/tree-row";
import { marksOf } from "@/hooks/findings";
import { jsonRoot } from "@/lib/json";
import { FieldsTab } from "./fields-tab";
import { RawTab } from "./raw-tab";
import { RelatedTab } from "./related-tab";

const hostile = [
  "<script>alert(1)</script><img src=x onerror=alert(1)>",
  "javascript:alert(1)",
  "gpj.\u202Eexe",
  "a\0b",
  "caf\udce9",
  "\u001b]0;pwned\u0007",
  "x".repeat(10_000_000),
];

const path = 'data["gpj.\u202Eexe <img>"]';
const columns = addDataColumn(defaultColumns, path).map((column) => ({ ...column, isShown: true }));
const columnState = { all: columns, shown: columns, fields: "", change: () => {}, reset: () => {} };

function Header() {
  return <EventHeader columns={useEventColumns(columnState)} state={columnState} isNarrow={false} />;
}

function listed(text: string): ListedEvent {
  const time = "2026-11-22T18:57:39.967551Z";
  return {
    session_id: text,
    seq: 1,
    event_type: text,
    timestamp: time,
    timestamp_source: "agent",
    source: text,
    created_at: time,
    pid: 1,
    process_name: text,
    operation: text,
    target: text,
    preview: text,
    preview_is_cut: true,
    fields: { "data.error": text, [path]: text },
  };
}

/** Renders it, and checks that event text became neither markup nor hidden characters. */
function draw(node: ReactNode): string {
  const client = new QueryClient({ defaultOptions: { queries: { enabled: false } } });
  const { container, unmount } = render(
    <QueryClientProvider client={client}>
      <ColumnsProvider>{node}</ColumnsProvider>
    </QueryClientProvider>,
  );
  expect(
    container.querySelectorAll("script, img, iframe, object, a, [href], [src], [style*=url]").length,
  ).toBe(0);
  const shown = `${container.textContent}${[...container.querySelectorAll("[title], [aria-label]")]
    .map((element) => `${element.getAttribute("title")}${element.getAttribute("aria-label")}`)
    .join("")}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the test searches for these
  expect(shown).not.toMatch(/[\0\u001b\u0007\u202E\ud800-\udfff]/);
  expect(shown.length).toBeLessThan(100_000);
  unmount();
  return shown;
}

test.each(hostile.map((text) => [text.slice(0, 30), text] as const))(
  "%j does nothing in a row",
  (_, text) => {
    const shown = draw(
      <EventRow
        index={0}
        row={listed(text)}
        previousTime={undefined}
        mark={marksOf([{ level: "high", title: text, events: 1, failed_count: 0, seqs: [1] }]).get(1)}
        columns={columns}
        zone="utc"
        isNarrow={false}
        isCurrent={false}
        isOpen={false}
        currentColumn={undefined}
        idPrefix="t"
      />,
    );
    expect(shown).toContain("18:57:39.967551");
    draw(<Header />);
  },
);

test.each(hostile.map((text) => [text.slice(0, 30), text] as const))(
  "%j does nothing in the details",
  (_, text) => {
    const event = readEvent(
      JSON.stringify({
        ...listed(text),
        data: { [text.slice(0, 200)]: text, filePath: text, status: -1073741790 },
      }),
    );
    expect(draw(<FieldsTab event={event} />)).toContain("0xC0000022 ACCESS_DENIED");
    expect(draw(<RawTab text={event.text} />)).toContain(
      "Show more".repeat(event.text.length > 20_000 ? 1 : 0),
    );
    draw(<RelatedTab sessionId="s" event={event} />);
  },
);

test.each(hostile.map((text) => [text.slice(0, 30), text] as const))(
  "%j does nothing in the tree",
  (_, text) => {
    const json = JSON.stringify({ [text.slice(0, 200)]: text, list: [text] });
    const rows = new TreeReader(json, jsonRoot(json)).rows(new Map([[0, listStep]]));
    expect(rows.length).toBe(3);
    for (const row of rows)
      draw(<JsonTreeRow id="r" text={json} row={row} index={0} top={0} isCurrent={false} />);
  },
);
