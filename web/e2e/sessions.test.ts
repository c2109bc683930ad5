import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { openView, rows } from "./pages";
import { storyEvents } from "./story";
import { expect, test } from "./test";

test("a file that is dropped anywhere becomes a session", async ({ page, backend }) => {
  const content = "MZ harmless";
  await page.goto("/");
  await page.getByText("No sessions yet").waitFor();
  const files = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], "dropped.exe"));
    return transfer;
  }, content);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: files });
  await page.getByText(/Drop the file to make a session/).waitFor();
  await page.dispatchEvent("body", "drop", { dataTransfer: files });

  const upload = page.getByRole("region", { name: "Uploads" });
  await upload.getByText("11 B, stored").waitFor();
  await upload.getByText(createHash("sha256").update(content).digest("hex")).waitFor();
  // No agent runs: the backend stores the file and reports a warning.
  await upload.getByText(/agent/).waitFor();
  await page.getByRole("heading", { name: "dropped.exe" }).waitFor();
  const { sessions } = await backend.get<{ sessions: { id: string; file_name: string }[] }>("/api/sessions");
  const made = sessions.find((session) => session.file_name === "dropped.exe");
  expect(new URL(page.url()).pathname).toBe(`/sessions/${made?.id}/summary`);
});

test("a file is chosen by the button, and its progress is shown", async ({ page, backend }) => {
  await page.goto("/");
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Upload a file" }).click();
  const chooser = await choosing;
  // A slow network: 4 MB take more than a second.
  const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3_000_000 };
  await network.send("Network.emulateNetworkConditions", slow);
  const content = Buffer.alloc(4_000_000, "MZ");
  await chooser.setFiles({ name: "chosen.exe", mimeType: "application/octet-stream", buffer: content });
  const upload = page.getByRole("region", { name: "Uploads" });
  await upload.getByRole("progressbar", { name: "Upload" }).waitFor();
  await upload.getByText(/^[1-9]\d? % of 3\.8 MB$/).waitFor();
  await page.getByRole("heading", { name: "chosen.exe" }).waitFor();
  const id = new URL(page.url()).pathname.split("/")[2];
  const made = await backend.get<{ file_sha256: string }>(`/api/sessions/${id}`);
  expect(made.file_sha256).toBe(createHash("sha256").update(content).digest("hex"));
});

test("a session is marked keep, and the events of unassigned are removed and recorded", async ({
  page,
  backend,
}) => {
  const session = await backend.createSession("pinned.sh", "true");
  const story = storyEvents(new Date("2026-11-20T10:00:00Z"));
  await backend.postEvents("unassigned", story.slice(0, 300));
  await page.goto("/");
  const row = (name: string | RegExp) => page.getByRole("row", { name });
  const menu = (name: string) => page.getByRole("button", { name: `More of ${name}` }).click();
  await menu("pinned.sh");
  await page.getByRole("menuitem", { name: "Keep: it never expires" }).click();
  await row(/pinned\.sh Marked keep/).waitFor();
  await page.getByRole("combobox", { name: "State" }).selectOption("Marked keep");
  await row("Unassigned events").waitFor({ state: "detached" });
  await row(/pinned\.sh/).waitFor();
  const { sessions } = await backend.get<{ sessions: { id: string }[] }>("/api/sessions?keep=true");
  expect(sessions.map(({ id }) => id)).toEqual([session]);
  await page.getByRole("combobox", { name: "State" }).selectOption("Any state");

  await menu("Unassigned events");
  await page.getByRole("menuitem", { name: "Remove its events" }).click();
  await page.getByText("The 300 events that belong to no session").waitFor();
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByText("The events are being removed.", { exact: true }).waitFor();
  await expect
    .poll(async () => (await backend.get<{ expired_seq: number }>("/api/sessions/unassigned")).expired_seq)
    .toBe(300);
  await backend.postEvents("unassigned", story.slice(300, 350));
  await page.reload();
  await page.getByRole("button", { name: "Events of unassigned expired, by a user's request" }).click();
  await page.getByText("events 1 to 300").waitFor();
  await page.keyboard.press("Escape");

  await openView(page, "unassigned", "events");
  await page.getByRole("button", { name: "50 of 50 events, none lost, 300 older expired" }).click();
  await page.getByText(/^events 1 to 300, .*, by a user's request$/).waitFor();
  await page.keyboard.press("Escape");
  await expect.poll(() => rows(page, "events").count()).toBeGreaterThan(10);
  expect(await page.getByText(/is not stored/).count()).toBe(0);
});

test("a session is named, tagged, found, exported, deleted and imported again", async ({
  page,
  faults,
  backend,
}) => {
  const story = storyEvents(new Date("2026-11-20T10:00:00Z")).slice(0, 700);
  const session = await backend.createSession("kept.sh", "true");
  await backend.postEvents(session, story);
  await openView(page, session, "events");
  const menu = () => page.getByRole("button", { name: /^More of/ }).click();
  await menu();
  await page.getByRole("menuitem", { name: "Name, tags and notes" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("The invoice case");
  await page.getByRole("textbox", { name: "Tags" }).fill("urgent, mail");
  await page.getByRole("textbox", { name: "Notes" }).fill("It came by mail.");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "The invoice case" }).waitFor();

  await menu();
  const downloading = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "Export as a bundle" }).click();
  const download = await downloading;
  expect(download.suggestedFilename()).toMatch(/\.zip$/);
  const bundle = await readFile(await download.path());

  await menu();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByText("The session is deleted.", { exact: true }).waitFor();
  expect(new URL(page.url()).pathname).toBe("/");
  expect((await fetch(`${backend.url}/api/sessions/${session}`)).status).toBe(404);

  // Its ID is free when its events are deleted, which takes a moment.
  faults.allow(/status of 409.*sessions\/import/);
  const heading = page.getByRole("heading", { name: "The invoice case" });
  const uploads = page.getByRole("region", { name: "Uploads" });
  await expect
    .poll(
      async () => {
        const choosing = page.waitForEvent("filechooser");
        await page.getByRole("button", { name: "Import" }).click();
        await (await choosing).setFiles({ name: "case.zip", mimeType: "application/zip", buffer: bundle });
        await uploads.getByText(/, (imported|not stored)$/).waitFor();
        if (await uploads.getByText(/, imported$/).isVisible()) {
          await heading.waitFor();
          return true;
        }
        await uploads.getByText(/already exists, or is being deleted/).waitFor();
        await uploads.getByRole("button", { name: "Dismiss" }).click();
        return false;
      },
      { interval: 500 },
    )
    .toBe(true);
  await page.getByText(`${story.length} of ${story.length} events`).waitFor();
  await page
    .getByRole("region", { name: "summary" })
    .getByText(/process/)
    .first()
    .waitFor();

  // A second import can only make a copy.
  const first = new URL(page.url()).pathname;
  await page.getByRole("link", { name: "All sessions" }).click();
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Import" }).click();
  await (await choosing).setFiles({ name: "again.zip", mimeType: "application/zip", buffer: bundle });
  await uploads.getByRole("button", { name: "Import as a copy" }).click();
  await heading.waitFor();
  expect(new URL(page.url()).pathname).not.toBe(first);
  const { sessions } = await backend.get<{ sessions: { id: string; name: string; event_count: number }[] }>(
    "/api/sessions?q=invoice+case",
  );
  expect(sessions.map(({ event_count }) => event_count)).toEqual([story.length, story.length]);

  await page.goto("/");
  const search = page.getByRole("searchbox", { name: "Search sessions" });
  const table = page.getByRole("table", { name: "Sessions" });
  await search.fill("invoice ca");
  await expect.poll(() => table.getByRole("row").count()).toBe(3);
  await table
    .getByRole("row", { name: /The invoice case.*urgent.*mail/ })
    .first()
    .waitFor();
  await search.fill("no such thing");
  await page.getByText("No matching sessions").waitFor();
});

test("an open list shows changes by others", async ({ page, backend }) => {
  await page.goto("/");
  await page.getByRole("heading", { name: "Sessions" }).waitFor();
  const session = await backend.createSession("from-elsewhere.sh", "true");
  const row = page.getByRole("row", { name: /from-elsewhere\.sh/ });
  await row.waitFor();
  await fetch(`${backend.url}/api/sessions/${session}`, { method: "DELETE" });
  await row.waitFor({ state: "detached" });
});

test("keys go to what has the focus, and destroy nothing by themselves", async ({ page, backend }) => {
  const first = await backend.createSession("first.sh", "true");
  await backend.createSession("second.sh", "true");
  await page.goto("/");
  await page.getByRole("row", { name: /first\.sh/ }).waitFor();
  await page.keyboard.press("j");
  // Enter on a button is the button's, although a row is chosen.
  await page.getByRole("button", { name: "More of first.sh" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Delete" }).waitFor();
  expect(new URL(page.url()).pathname).toBe("/");
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "first.sh" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "first.sh" }).waitFor();
  expect(new URL(page.url()).pathname).toBe(`/sessions/${first}/summary`);
  await page.getByRole("button", { name: "Start" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("radio", { name: /^The uploaded file/ }).waitFor();
  const focused = page.locator(":focus");
  await expect.poll(() => focused.getAttribute("type")).toBe("radio");
});

test("the focus is never lost: it goes back to what opened a dialog, and on to the next row", async ({
  page,
  backend,
}) => {
  for (const name of ["third.sh", "middle.sh", "last.sh"]) await backend.createSession(name, "true");
  await page.goto("/");
  const name = () =>
    page.evaluate(() => {
      const { activeElement } = document;
      return activeElement?.getAttribute("aria-label") ?? activeElement?.textContent?.trim().slice(0, 40);
    });
  const has = (what: string) => expect.poll(name).toBe(what);

  // The sheet of keys opens by the mouse, too.
  await page.getByRole("button", { name: /^Settings/ }).click();
  await page.getByRole("menuitem", { name: "Keyboard shortcuts" }).click();
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).getByText("Next session").waitFor();
  await page.keyboard.press("Escape");
  await expect.poll(name).toMatch(/^Settings/);

  await page.getByRole("link", { name: "last.sh" }).focus();
  await page.keyboard.press("ArrowDown");
  await has("middle.sh");
  await page.keyboard.press("Tab");
  await has("More of middle.sh");
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Name, tags and notes" }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Name, tags and notes" }).waitFor();
  await page.keyboard.press("Escape");
  await has("More of middle.sh");
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Delete" }).waitFor();
  await page.keyboard.press("End");
  await has("Delete"); // the menu moves the focus a moment later
  await page.keyboard.press("Enter");
  await has("Cancel");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await has("third.sh");

  // The list has the focus where it was.
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "third.sh" }).waitFor();
  await has("Start");
  await page.keyboard.press("g");
  await has("third.sh");
});
