import { render, screen } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { CatchErrors } from "./catch-errors";
import { defer } from "./defer";

const Hello = ({ name }: { name: string }) => <p>hello {name}</p>;

test("loaded code is drawn, the next time at once", async () => {
  const fetchModule = vi.fn(async () => ({ default: Hello }));
  const Deferred = defer(fetchModule);
  render(<Deferred name="a" />);
  expect(screen.getByRole("status").textContent).toContain("Loading");
  await screen.findByText("hello a");
  render(<Deferred name="b" />);
  expect(screen.getByText("hello b")).toBeTruthy();
  expect(fetchModule).toHaveBeenCalledTimes(1);
});

test("code that cannot be loaded is an error, and is retried", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {}); // React logs the error, too
  let tries = 0;
  const Deferred = defer(async () => {
    if (++tries === 1) throw new Error("the connection was lost");
    return { default: () => <p>there</p> };
  });
  render(
    <CatchErrors>
      <Deferred />
    </CatchErrors>,
  );
  await screen.findByText("the connection was lost");
  screen.getByRole("button", { name: "Try again" }).click();
  await screen.findByText("there");
});
