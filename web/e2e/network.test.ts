import { readFile } from "node:fs/promises";
import type { Backend, PostedEvent } from "./harness";
import { openView, rows } from "./pages";
import { expect, test } from "./test";

/** What the agent for Linux sent about a small program of which it watched both ends. */
async function recorded(file: string): Promise<PostedEvent[]> {
  const text = await readFile(new URL(file, import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

async function sessionOf(backend: Backend, events: PostedEvent[]): Promise<string> {
  const session = await backend.createSession("sample.sh", `#!/bin/sh\necho ${Math.random()}\n`);
  await backend.postEvents(session, events);
  return session;
}

test("a connection is one row, with its local and its remote end", async ({ backend, page }) => {
  const session = await sessionOf(
    backend,
    await recorded("../../internal/analysis/testdata/agent/tcp.ndjson"),
  );
  const found = await openView(page, session, "network");
  await page.getByText("2 conversations").waitFor();
  expect(await found.count()).toBe(2);
  for (const port of [47554, 47562]) {
    const cells = await found
      .filter({ hasText: String(port) })
      .getByRole("gridcell")
      .allInnerTexts();
    expect(cells.slice(0, 8)).toEqual([
      "tcp",
      expect.stringMatching(new RegExp(`net 21116\\s*127\\.0\\.0\\.1:${port}`)),
      expect.stringMatching(/net 21102\s*127\.0\.0\.1:18080/),
      "10",
      "9",
      "5.6 KB",
      "413 B",
      "5.1 KB",
    ]);
  }
  const listening = page.getByRole("region", { name: "Listening" });
  expect(await listening.textContent()).toMatch(/tcp\s*0\.0\.0\.0:18080\s*net 21102/);
  // The events of the row are those of both ends.
  await found.first().click();
  const list = page.getByRole("grid", { name: "Packets and calls" });
  await list.getByRole("row").filter({ hasText: "Accept" }).waitFor();
  await list.getByRole("row").filter({ hasText: "Connect" }).waitFor();
  expect(await list.getAttribute("aria-rowcount")).toBe("20"); // with the header
  await listening.getByRole("button").click();
  await page.getByText("No matching conversations").waitFor({ state: "hidden" });
  await expect.poll(() => new URL(page.url()).searchParams.get("filter")).toContain("data.src_port = 18080");
});

test("an ICMP packet about a closed port is no conversation", async ({ backend, page }) => {
  const session = await sessionOf(
    backend,
    await recorded("../../internal/analysis/testdata/agent/dns.ndjson"),
  );
  const found = await openView(page, session, "network");
  await page.getByText("1 conversation", { exact: false }).first().waitFor();
  expect(await found.count()).toBe(1);
  expect(await found.first().textContent()).toMatch(
    /udp[\s\S]*127\.0\.0\.1:36251[\s\S]*127\.0\.0\.1:53[\s\S]*1 ICMP error/,
  );
});

test("a request that both sides saw is one row, and its columns stay", async ({ backend, page }) => {
  const session = await sessionOf(backend, await recorded("testdata/http-both-sides.ndjson"));
  const found = await openView(page, session, "http");
  await page.getByText("4 requests").waitFor();
  expect(await found.count()).toBe(4);
  const headers = page.getByRole("grid", { name: "HTTP requests" }).getByRole("columnheader");
  const before = await headers.allInnerTexts();
  expect(before.map((text) => text.toLowerCase())).toContain("scheme");
  const row = found.filter({ hasText: "/submit" });
  expect(await row.textContent()).toMatch(
    /POST[\s\S]*200[\s\S]*http[\s\S]*127\.0\.0\.1:18087[\s\S]*\/submit/,
  );
  await row.click();
  const details = page.getByRole("complementary", { name: "Request" });
  await details.getByRole("button", { name: /^Server/ }).click();
  await details.getByText(/Event \d+ \(response\)/).waitFor();
  expect(await details.getByRole("button", { name: /^Client/ }).getAttribute("aria-pressed")).toBe("false");
  expect(await headers.allInnerTexts()).toEqual(before);
  expect(await row.textContent()).toMatch(/127\.0\.0\.1:18087/);
});

test("files are sorted by every column that counts", async ({ backend, page }) => {
  const file = (name: string, operation: string, times: number): PostedEvent[] =>
    Array.from({ length: times }, () => ({
      event_type: "file_operation",
      timestamp: "2026-11-20T10:00:00Z",
      source: "os-pulse-agent",
      data: { operation, filePath: `/tmp/${name}`, bytesTransferred: 10 },
    }));
  const session = await sessionOf(backend, [
    ...file("other", "OpenFile", 9),
    ...file("read", "ReadFile", 2),
    ...file("written", "WriteFile", 2),
    ...file("created", "CreateFile", 2),
    ...file("renamed", "RenameFile", 2),
    ...file("deleted", "DeleteFile", 2),
  ]);
  await openView(page, session, "files");
  const first = () => rows(page, "files").first().textContent();
  expect(await first()).toContain("/tmp/other");
  for (const [column, name] of [
    ["Reads", "read"],
    ["Writes", "written"],
    ["Created", "created"],
    ["Renamed", "renamed"],
    ["Deleted", "deleted"],
    ["Bytes read", "read"],
    ["Bytes written", "written"],
  ]) {
    const header = page.getByRole("columnheader", { name: column, exact: true });
    await header.getByRole("button").click();
    await expect.poll(first).toContain(`/tmp/${name}`);
    expect(await header.getAttribute("aria-sort")).toBe("descending");
  }
});
