import type { PostedEvent } from "./harness";
import { countText, openView, rows } from "./pages";
import { expect, test } from "./test";

function opened(program: string, filePath: string): PostedEvent {
  return {
    event_type: "file_operation",
    timestamp: "2026-11-22T18:57:39Z",
    source: "os-pulse-agent",
    data: { operation: "OpenFile", filePath, status: 3, metadata: { processName: program, processId: 7 } },
  };
}

test("a finding arrives while the page is open, and leads to its events", async ({ backend, page }) => {
  const session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, [opened("cat", "/etc/hosts")]);
  await page.goto(`/sessions/${session}/findings`);
  await page.getByText("No findings").waitFor();
  await page.getByText("The rules have been applied to the 1 event.").waitFor();

  await backend.postEvents(session, [
    opened("cat", "/etc/shadow"),
    opened("sudo", "/etc/shadow"),
    opened("cat", "/etc/gshadow"),
  ]);
  const found = rows(page, "findings").filter({ hasText: "A program read the password hashes" });
  await found.getByText("high").waitFor();
  await found.getByText("T1003.008").waitFor();
  await found.getByText("2 events").waitFor();
  await found.getByText("/etc/shadow").click();
  await page.getByRole("complementary", { name: "Event 2" }).waitFor();
  expect(await found.getAttribute("aria-selected")).toBe("true");

  await found.getByRole("link", { name: "2 events" }).click();
  await countText(page).getByText("2 events selected").waitFor();
  await page.goBack();
  await found.waitFor();
  await openView(page, session, "findings", "?filter=pid%3D1");
  await page.getByText("The filter, the chosen process and the span do not apply here.").waitFor();
});
