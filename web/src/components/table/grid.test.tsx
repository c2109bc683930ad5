import { fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ShortcutProvider } from "@/hooks/shortcuts";
import { Grid } from "./grid";
import type { TableColumn } from "./table";

interface Row {
  name: string;
  size: number;
}

const columns: TableColumn<Row>[] = [
  { id: "name", label: "Name", width: 100, grow: "1fr", sort: "ascending", cell: (row) => row.name },
  { id: "size", label: "Size", width: 80, align: "right", sort: "descending", cell: (row) => row.size },
  { id: "note", label: "Note", width: 60, cell: () => "–" },
];
const onSort = vi.fn();

function show() {
  return render(
    <ShortcutProvider>
      <Grid
        label="Things"
        one="thing"
        name="things"
        columns={columns}
        rows={[{ name: "a", size: 1 }]}
        keyOf={(row) => row.name}
        sort="size"
        onSort={onSort}
        chosen={undefined}
        onChoose={() => {}}
      />
    </ShortcutProvider>,
  );
}

const template = () => screen.getByRole("grid").style.getPropertyValue("--columns");
const handle = (name: string) => screen.getByRole("separator", { name: `Width of ${name}` });

beforeEach(() => {
  localStorage.clear();
  // Without a height, no row would be in sight.
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(600);
});
afterEach(() => vi.restoreAllMocks());

test("each row has a cell for each column", () => {
  show();
  expect(screen.getAllByRole("gridcell").map((cell) => cell.textContent)).toEqual(["a", "1", "–"]);
  expect(template()).toBe("minmax(100px, 1fr) 80px 60px");
});

test("keys change the width of a column, and the browser keeps it", async () => {
  const { unmount } = show();
  handle("Size").focus();
  await userEvent.keyboard("{ArrowRight}{ArrowRight}{ArrowLeft}");
  expect(template()).toBe("minmax(100px, 1fr) 88px 60px");
  expect(handle("Size").getAttribute("aria-valuenow")).toBe("88");
  unmount();
  show();
  expect(template()).toBe("minmax(100px, 1fr) 88px 60px");
  await userEvent.dblClick(handle("Size"));
  expect(template()).toBe("minmax(100px, 1fr) 80px 60px");
});

test("a column that grows keeps the width that the reader chose; then the last column grows", async () => {
  show();
  handle("Name").focus();
  await userEvent.keyboard("{ArrowLeft}");
  expect(template()).toBe("92px 80px minmax(60px, 1fr)");
  for (let i = 0; i < 10; i++) await userEvent.keyboard("{ArrowLeft}");
  expect(template()).toBe("36px 80px minmax(60px, 1fr)");
});

test("the mouse changes the width of a column, and shows it meanwhile", () => {
  show();
  fireEvent.mouseDown(handle("Size"), { clientX: 200 });
  fireEvent.mouseMove(document, { clientX: 230 });
  expect(template()).toBe("minmax(100px, 1fr) 110px 60px");
  expect(localStorage).toHaveLength(0);
  fireEvent.mouseUp(document, { clientX: 240 });
  expect(template()).toBe("minmax(100px, 1fr) 120px 60px");
  expect(localStorage).toHaveLength(1);
});

test("invalid stored widths are ignored", () => {
  localStorage.setItem("ospulse.columns.things", '{"size": "wide", "note": 1e9}');
  show();
  expect(template()).toBe("minmax(100px, 1fr) 80px 1600px");
});

test("the header sorts, and says how the rows are sorted", async () => {
  show();
  const header = (name: string) => screen.getByRole("columnheader", { name });
  expect(header("Size").getAttribute("aria-sort")).toBe("descending");
  expect(header("Name").getAttribute("aria-sort")).toBe("none");
  expect(header("Note").getAttribute("aria-sort")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Name" }));
  expect(onSort).toHaveBeenLastCalledWith("name");
  await userEvent.click(screen.getByRole("button", { name: "Size" }));
  expect(onSort).toHaveBeenLastCalledWith("size");
  expect(screen.queryByRole("button", { name: "Note" })).toBeNull();
});

test("Enter in a row opens it; Enter in its link is the link's own", async () => {
  const onOpen = vi.fn();
  const onLink = vi.fn((event: { preventDefault: () => void }) => event.preventDefault());
  const link = {
    id: "link",
    label: "Link",
    width: 60,
    cell: () => (
      <a href="/x" onClick={onLink}>
        Go
      </a>
    ),
  };
  render(
    <ShortcutProvider>
      <Grid
        label="Things"
        one="thing"
        name="things"
        columns={[link]}
        rows={[{ name: "a", size: 1 }]}
        keyOf={(row) => row.name}
        chosen={undefined}
        onChoose={() => {}}
        onOpen={onOpen}
      />
    </ShortcutProvider>,
  );
  screen.getByRole("link").focus();
  await userEvent.keyboard("{Enter}");
  expect(onLink).toHaveBeenCalledTimes(1);
  expect(onOpen).not.toHaveBeenCalled();
  screen.getByRole("link").closest<HTMLElement>("[role=row]")?.focus();
  await userEvent.keyboard("{Enter}");
  expect(onOpen).toHaveBeenCalledWith({ name: "a", size: 1 });
});
