import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { patience } from "./harness";
import { storyEvents } from "./story";
import { desk, expect, test } from "./test";
import { Faults } from "./watch";

/** A proxy that serves only a backend, under /osp/. */
async function startProxy(backend: string): Promise<{ url: string; elsewhere: string[]; server: Server }> {
  const elsewhere: string[] = [];
  const server = createServer((incoming, answer) => {
    const path = incoming.url ?? "";
    if (!path.startsWith("/osp/")) {
      elsewhere.push(path);
      answer.writeHead(404).end("another application");
      return;
    }
    const { method } = incoming;
    const headers = { ...incoming.headers, host: new URL(backend).host };
    const outgoing = request(backend + path.slice("/osp".length), { method, headers }, (got) => {
      answer.writeHead(got.statusCode ?? 502, got.headers);
      got.pipe(answer);
    });
    outgoing.on("error", () => answer.destroy());
    answer.on("close", () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, elsewhere, server };
}

test("the dashboard works under a path of a proxy", async ({ backend, browser, onTestFinished }) => {
  const { url, elsewhere, server } = await startProxy(backend.url);
  const context = await browser.newContext({ viewport: desk, acceptDownloads: true });
  onTestFinished(async () => {
    await context.close();
    server.closeAllConnections();
    server.close();
  });
  const faults = await Faults.watch(context, url);
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const story = storyEvents(new Date("2026-11-20T10:00:00Z"));

  // An upload, and the page that opens after it.
  await page.goto(`${url}/osp/`);
  await page.getByText("No sessions yet").waitFor();
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Upload a file" }).click();
  await (await choosing).setFiles({ name: "a.sh", mimeType: "text/x-sh", buffer: Buffer.from("true") });
  await page.getByRole("heading", { name: "a.sh" }).waitFor();
  const session = new URL(page.url()).pathname.split("/")[3] ?? "";
  expect(page.url()).toBe(`${url}/osp/sessions/${session}/summary`);

  // The stream delivers events, and every view has its own address.
  await backend.postEvents(session, story.slice(0, 300));
  await page
    .getByText(/^300 events$/)
    .first()
    .waitFor();
  for (const view of ["summary", "events", "processes", "files", "http", "network"]) {
    await page.goto(`${url}/osp/sessions/${session}/${view}`);
    await page.getByRole("heading", { name: "a.sh" }).waitFor();
  }

  // Links, downloads and the API page.
  await page.getByRole("button", { name: "Export" }).click();
  const downloading = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: /NDJSON/i }).click();
  expect((await downloading).url()).toContain(`${url}/osp/api/sessions/${session}/export`);
  await page.goto(`${url}/osp/api/docs`);
  expect(
    await page
      .getByRole("link", { name: "/api/openapi.json" })
      .evaluate((link: HTMLAnchorElement) => link.href),
  ).toBe(`${url}/osp/api/openapi.json`);
  await page.goto(`${url}/osp/sessions/${session}`);
  await page.getByRole("link", { name: "OS-Pulse" }).first().click();
  await page.getByText("a.sh").first().waitFor();
  expect(page.url()).toBe(`${url}/osp/`);

  expect(elsewhere).toEqual([]);
  expect(faults.list()).toEqual([]);
});
