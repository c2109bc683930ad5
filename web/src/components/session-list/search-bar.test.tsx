import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { SearchBar, searchOf } from "./search-bar";

test("a long run of hex is a hash, other input is text", () => {
  expect(searchOf(" invoice ")).toEqual({ q: "invoice", sha256: undefined });
  expect(searchOf("5E1D9B2F7C3A")).toEqual({ q: undefined, sha256: "5e1d9b2f7c3a" });
  expect(searchOf("cafe")).toEqual({ q: "cafe", sha256: undefined });
  expect(searchOf("  ")).toEqual({ q: undefined, sha256: undefined });
});

test("the search runs once, after the last key", async () => {
  const onChange = vi.fn();
  render(<SearchBar search={{ state: "ended" }} onChange={onChange} />);
  await userEvent.type(screen.getByRole("searchbox"), "evil");
  await vi.waitFor(() => expect(onChange).toHaveBeenCalled());
  expect(onChange.mock.calls).toEqual([[{ state: "ended", q: "evil", sha256: undefined }]]);
});
