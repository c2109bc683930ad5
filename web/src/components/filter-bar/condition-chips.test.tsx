import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, test, vi } from "vitest";
import { ConditionChips } from "./condition-chips";

function Filter({ onEmpty }: { onEmpty: () => void }) {
  const [filter, setFilter] = useState("type = x  and pid=1 and 'gpj.\u202Eexe <b>' and last");
  return (
    <>
      <output>{JSON.stringify(filter)}</output>
      <ConditionChips filter={filter} onChange={setFilter} onEmpty={onEmpty} />
    </>
  );
}

test("a condition is removed by its button, Delete and Backspace, and the focus stays among them", async () => {
  const onEmpty = vi.fn();
  const { container } = render(<Filter onEmpty={onEmpty} />);
  const filter = () => JSON.parse(screen.getByRole("status").textContent ?? "");
  const button = (name: string) => screen.getByRole("button", { name: `Remove ${name}` });
  expect(screen.getAllByRole("listitem")).toHaveLength(4);
  expect(container.querySelector("b")).toBeNull();
  await userEvent.click(button("pid=1"));
  expect(filter()).toBe("type = x and 'gpj.\u202Eexe <b>' and last");
  await waitFor(() => expect(document.activeElement).toBe(button("'gpj.⟨202E⟩exe <b>'")));
  await userEvent.keyboard("{Delete}");
  expect(filter()).toBe("type = x and last");
  await waitFor(() => expect(document.activeElement).toBe(button("last")));
  await userEvent.keyboard("{ArrowLeft}{Backspace}");
  expect(filter()).toBe("last");
  await waitFor(() => expect(document.activeElement).toBe(button("last")));
  expect(onEmpty).not.toHaveBeenCalled();
  await userEvent.keyboard("{Enter}");
  expect(filter()).toBe("");
  expect(onEmpty).toHaveBeenCalledOnce();
  expect(screen.queryByRole("list")).toBeNull();
});
