import { expect, test } from "vitest";
import { readView, type View, viewFilter, writeView } from "./view";

test("a view survives its address", () => {
  const view: View = {
    filter: "target contains 'a&b=c'",
    span: { from: "2026-11-22T18:00:00Z", to: "2026-11-22T19:00:00.5Z" },
    process: { pid: 0, name: "système", from: "2026-11-22T18:00:00Z", to: undefined },
    hidesRoutine: true,
    seq: 12,
  };
  const params = writeView(new URLSearchParams("sort=path&seq=1"), view);
  expect(readView(new URLSearchParams(params.toString()))).toEqual(view);
  expect(params.get("sort")).toBe("path");
  expect(writeView(params, { filter: "" }).toString()).toBe("sort=path");
});

test("a chosen process is one with its descendants, or alone", () => {
  const params = new URLSearchParams("pid=4&process=a&process_id=42");
  const view = readView(params);
  expect(viewFilter(view)).toBe('under("42")');
  const alone = { ...view, process: view.process && { ...view.process, alone: true } };
  expect(viewFilter(readView(writeView(params, alone)))).toBe('only("42")');
  expect(viewFilter(readView(new URLSearchParams("pid=4&process_id=x")))).toBe("pid = 4");
});

test("invalid parts of an address are ignored", () => {
  expect(readView(new URLSearchParams("pid=x&seq=-1&from=1"))).toEqual({ filter: "" });
});

test("a view is one filter", () => {
  const view = readView(
    new URLSearchParams({
      filter: "a or b",
      pid: "4",
      from: "2026-01-01T00:00:00Z",
      to: "2026-01-02T00:00:00Z",
    }),
  );
  expect(viewFilter(view)).toBe(
    "(a or b) and pid = 4 and time >= 2026-01-01T00:00:00Z and time <= 2026-01-02T00:00:00Z",
  );
  expect(viewFilter(view, { span: false })).toBe("(a or b) and pid = 4");
  expect(viewFilter({ ...view, hidesRoutine: true }, { span: false })).toBe(
    "(a or b) and pid = 4 and not routine = true",
  );
});
