import { render } from "@testing-library/react";
import { expect, test } from "vitest";
import { SafeText } from "./safe-text";

test.each([
  ["markup", "<img src=x onerror=alert(1)>"],
  ["a script", "<script>alert(1)</script>"],
  ["an address", "javascript:alert(1)"],
])("%s is text", (_, text) => {
  const { container } = render(<SafeText text={text} />);
  expect(container.textContent).toBe(text);
  expect(container.querySelector("img, script, a")).toBeNull();
});

test("hidden characters are marked, and named", () => {
  const { container } = render(<SafeText text={"a\u202Eb\0"} />);
  const marks = [...container.querySelectorAll("[data-hidden]")];
  expect(marks.map((mark) => mark.getAttribute("data-hidden"))).toEqual(["U+202E", "U+0000"]);
  expect(container.textContent).toBe("a⟨202E⟩b␀");
});

test("ten megabytes are cut before they are drawn", () => {
  const { container } = render(<SafeText text={"x".repeat(10_000_000)} />);
  expect(container.textContent?.length).toBe(1001);
});
