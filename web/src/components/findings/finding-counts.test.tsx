import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { FindingCounts } from "./finding-counts";

const none = { version: 3, highest: null, informational: 0, low: 0, medium: 0, high: 0, critical: 0 };

test("the highest level comes first, and the words tell all levels", () => {
  const findings = { ...none, highest: "high" as const, high: 1200, low: 1, informational: 3 };
  render(<FindingCounts session={{ id: "a/b", findings }} />);
  const link = screen.getByRole("link", { name: "Findings: 1200 high, 1 low, 3 informational" });
  expect(link.textContent).toBe("1.20k high1 low, 3 info");
  expect(link.getAttribute("href")).toBe("/sessions/a%2Fb/findings");
});

test("a session without findings has a dash", () => {
  const { container } = render(<FindingCounts session={{ id: "a", findings: none }} />);
  expect(container.textContent).toBe("–");
});
