import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { ViewChips } from "./view-chips";

const span = { from: "2026-11-22T18:00:00Z", to: "2026-11-22T18:01:00Z" };

test("a process has a chip, and its button removes it", async () => {
  const clear = vi.fn();
  const process = { pid: 4, name: "<b>\u202Efdp.exe\0" };
  const { container } = render(<ViewChips view={{ filter: "x", process, span }} onChange={clear} />);
  expect(container.querySelector("b")).toBeNull();
  expect(container.textContent).not.toMatch(/[\u202e\0]/u);
  expect(container.querySelector("[data-hidden='U+202E']")).not.toBeNull();
  const drop = screen.getByRole("button", { name: /only <b>⟨202E⟩fdp.exe␀$/u });
  await userEvent.click(drop);
  expect(clear).toHaveBeenLastCalledWith({ process: undefined });
  await userEvent.click(screen.getByRole("button", { name: "Show the whole time again" }));
  expect(clear).toHaveBeenLastCalledWith({ span: undefined });
  await userEvent.click(screen.getByRole("button", { name: "Clear all" }));
  expect(clear).toHaveBeenLastCalledWith({ filter: "", process: undefined, span: undefined });
});

test("a filter alone has no chip here", () => {
  const { container } = render(<ViewChips view={{ filter: "x" }} onChange={() => {}} />);
  expect(container.childElementCount).toBe(0);
});

test("a process comes with its descendants unless the reader says otherwise", async () => {
  const change = vi.fn();
  const process = { pid: 4, name: "a", id: "42" };
  const { rerender } = render(<ViewChips view={{ filter: "", process }} onChange={change} />);
  await userEvent.click(screen.getByRole("button", { name: "with descendants", pressed: true }));
  expect(change).toHaveBeenLastCalledWith({ process: { ...process, alone: true } });
  rerender(<ViewChips view={{ filter: "", process: { ...process, alone: true } }} onChange={change} />);
  await userEvent.click(screen.getByRole("button", { name: "with descendants", pressed: false }));
  expect(change).toHaveBeenLastCalledWith({ process: { ...process, alone: undefined } });
});
