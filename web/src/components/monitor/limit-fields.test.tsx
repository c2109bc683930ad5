import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, expect, test } from "vitest";
import { LimitFields } from "./limit-fields";
import { type Draft, limitsOf, type StartOptions } from "./start-limits";

afterEach(cleanup);

const options: StartOptions = {
  networks: ["none", "nat"],
  network: "none",
  timeout_seconds: 600,
  min_memory_mb: 16,
  memory_mb: 1024,
};

test("only what the agent allows is asked for", () => {
  expect(limitsOf({}, options)).toEqual({});
  expect(limitsOf({ seconds: "", megabytes: "" }, options)).toEqual({});
  expect(limitsOf({ network: "nat", seconds: "600", megabytes: "16" }, options)).toEqual({
    network: "nat",
    timeoutSeconds: 600,
    memoryMB: 16,
  });
  for (const seconds of ["0", "601", "-1", "1.5", "x", "1e2"])
    expect(limitsOf({ seconds }, options), seconds).toBeUndefined();
  for (const megabytes of ["15", "1025"]) expect(limitsOf({ megabytes }, options)).toBeUndefined();
});

function Form({ options, seen }: { options: StartOptions | null; seen?: (draft: Draft) => void }) {
  const [draft, setDraft] = useState<Draft>({});
  return (
    <LimitFields
      options={options}
      draft={draft}
      onChange={(next) => {
        setDraft(next);
        seen?.(next);
      }}
    />
  );
}

test("the fields offer what is allowed, and say why the rest is not", async () => {
  let last: Draft = {};
  render(
    <Form
      options={options}
      seen={(draft) => {
        last = draft;
      }}
    />,
  );
  const isDisabled = (name: string) => (screen.getByRole("option", { name }) as HTMLOptionElement).disabled;
  expect(["None", "Outside only", "Same as the agent's machine"].map(isDisabled)).toEqual([
    false,
    false,
    true,
  ]);
  screen.getByText(/No server is ever reached.*“Same as the agent's machine” needs .*--spawn-network host/);
  await userEvent.selectOptions(screen.getByRole("combobox"), "Outside only");
  await userEvent.type(screen.getByRole("textbox", { name: /Time limit/ }), "601");
  expect(last).toEqual({ network: "nat", seconds: "601" });
  expect(screen.getByRole("textbox", { name: /Time limit/ }).getAttribute("aria-invalid")).toBe("true");
  expect(screen.getByRole("textbox", { name: /Memory/ }).getAttribute("aria-invalid")).toBe("false");
});

test("an agent without a network or without a report says so", () => {
  render(<Form options={{ ...options, networks: ["none"] }} />);
  screen.getByText(/This agent allows no network\. Its owner can allow one/);
  cleanup();
  render(<Form options={{ ...options, networks: ["none", "host"] }} />);
  screen.getByText(/“Outside only” does not work on the agent's machine/);
  cleanup();
  render(<Form options={null} />);
  screen.getByText(/Its own settings apply/);
  expect(screen.queryByRole("combobox")).toBeNull();
});
