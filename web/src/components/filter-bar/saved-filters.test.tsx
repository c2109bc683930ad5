import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test } from "vitest";
import { FilterMenu } from "./filter-menu";
import { useFilters } from "./use-filters";

function Shown() {
  return <FilterMenu filters={useFilters()} draft="" onChoose={() => {}} />;
}

const stored = () => JSON.parse(localStorage.getItem("ospulse.filters") ?? "{}");

async function choose(item: string) {
  await userEvent.click(screen.getByRole("button", { name: "Recent and saved filters" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: item }));
}

async function answer(question: string, button: string) {
  const dialog = await screen.findByRole("dialog", { name: question });
  await userEvent.click(within(dialog).getByRole("button", { name: button }));
}

afterEach(() => localStorage.clear());

test("a saved filter and the recent ones are deleted after a question", async () => {
  localStorage.setItem(
    "ospulse.filters",
    JSON.stringify({ recent: ["pid = 1"], saved: [{ name: "mine", filter: "pid = 2" }] }),
  );
  render(<Shown />);
  await choose("Clear the recent filters");
  await answer("Clear the recent filters?", "Cancel");
  expect(stored().recent).toEqual(["pid = 1"]);
  await choose("Clear the recent filters");
  await answer("Clear the recent filters?", "Clear");
  expect(stored().recent).toEqual([]);

  await choose("Saved filters…");
  const remove = screen.getByRole("button", { name: "Delete mine" });
  await userEvent.click(remove);
  await answer("Delete this filter?", "Cancel");
  expect(stored().saved).toHaveLength(1);
  await userEvent.click(remove);
  await answer("Delete this filter?", "Delete");
  expect(stored().saved).toEqual([]);
  await waitFor(() =>
    expect(document.activeElement).toBe(screen.getByRole("dialog", { name: "Saved filters" })),
  );
});
