import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test } from "vitest";
import { ShortcutProvider, useShortcut, useShortcuts } from "./shortcuts";

afterEach(cleanup);

function Bind({ name, shortcut, log }: { name: string; shortcut: string; log: string[] }) {
  useShortcut(shortcut, name, "Test", () => log.push(name));
  return null;
}

function List() {
  return <p>{useShortcuts().map(({ key, label }) => `${key}: ${label}; `)}</p>;
}

test("the latest one that is mounted has a key", async () => {
  const log: string[] = [];
  const page = (hasDetails: boolean) => (
    <ShortcutProvider>
      {hasDetails && <Bind name="details" shortcut="Escape" log={log} />}
      <Bind name="list" shortcut="Escape" log={log} />
      <List />
    </ShortcutProvider>
  );
  const { rerender } = render(page(false));
  rerender(page(true));
  await userEvent.keyboard("{Escape}");
  expect(log).toEqual(["details"]);
  screen.getByText("Escape: list; Escape: details;");
  rerender(page(false));
  await userEvent.keyboard("{Escape}");
  expect(log).toEqual(["details", "list"]);
});

test("keys are what is printed on them, with or without Shift", async () => {
  const log: string[] = [];
  render(
    <ShortcutProvider>
      {["t", "T", "?", "+", "-", "[", "/", "1"].map((key) => (
        <Bind key={key} name={key} shortcut={key} log={log} />
      ))}
    </ShortcutProvider>,
  );
  await userEvent.keyboard("t{Shift>}T?+{/Shift}?+-[[/1");
  expect(log).toEqual(["t", "T", "?", "+", "?", "+", "-", "[", "/", "1"]);
});

test("keys with Ctrl, in fields, in dialogs, or used by a control do nothing", async () => {
  const log: string[] = [];
  const page = (dialog: boolean) => (
    <ShortcutProvider>
      <Bind name="s" shortcut="s" log={log} />
      <input aria-label="Field" />
      <button type="button" onKeyDown={(event) => event.preventDefault()}>
        Control
      </button>
      {dialog && <div role="dialog" data-state="open" />}
    </ShortcutProvider>
  );
  const { rerender } = render(page(false));
  await userEvent.keyboard("{Control>}s{/Control}");
  await userEvent.type(screen.getByRole("textbox"), "s");
  await userEvent.click(screen.getByRole("button"));
  await userEvent.keyboard("s");
  expect(log).toEqual([]);
  (document.activeElement as HTMLElement).blur();
  rerender(page(true));
  await userEvent.keyboard("s");
  expect(log).toEqual([]);
  rerender(page(false));
  await userEvent.keyboard("s");
  expect(log).toEqual(["s"]);
});
