import type { Page } from "playwright-core";
import { until } from "./harness";
import { openView, rows, viewPath, views } from "./pages";
import { storyEvents } from "./story";
import { desk, expect, test } from "./test";

// What the page says about the agent, about times and about an event.
const westCoast = { locale: "en-US", timezoneId: "America/Los_Angeles" };

interface Agent {
  status: string;
  last_seen_at: string;
  heartbeat_at: string;
  last_error: string;
}

test("an agent that cannot be reached is offline, and was seen when it was seen", async ({
  openWindow,
  backend,
}) => {
  const { context } = await openWindow({ timezoneId: "UTC" });
  const page = await context.newPage();
  await backend.startAgent();
  await page.goto("/");
  await page.getByRole("button", { name: "Agent online" }).click();
  const card = page.getByRole("dialog", { name: "Agents" }).getByRole("listitem").first();
  await card.getByText(/seen just now/).waitFor();

  await backend.killAgent();
  const agent = await until("the backend knows that the agent is offline", async () => {
    const { agents } = await backend.get<{ agents: Agent[] }>("/api/agents");
    return agents.find((agent) => agent.status === "down");
  });
  await page.getByRole("button", { name: "Agent offline" }).waitFor();
  await page.reload(); // asks for the agents again
  await page.getByRole("button", { name: "Agent offline" }).click();
  await card.getByText(agent.last_error, { exact: true }).waitFor();
  const seen =
    agent.heartbeat_at === agent.last_seen_at
      ? /, last heartbeat (just now|\d+ min ago)$/
      : new RegExp(`, last seen ${agent.last_seen_at.slice(0, 19).replace("T", " ")}$`);
  await card.getByText(seen).waitFor();
  expect(await page.getByText("Agent online").count()).toBe(0);
  expect(await page.getByText(/(?<!last )seen just now/).count()).toBe(0);
});

/** All texts that a reader can see or point at. */
function texts(page: Page): Promise<string> {
  return page.evaluate(() => {
    const found: string[] = [];
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) found.push(nodes.currentNode.nodeValue ?? "");
    for (const element of document.querySelectorAll("[title],[aria-label]"))
      found.push(element.getAttribute("title") ?? "", element.getAttribute("aria-label") ?? "");
    return found.join("\n");
  });
}

test("all times of a browser in the United States are on a 24-hour clock", async ({
  openWindow,
  backend,
}) => {
  const { context } = await openWindow({ ...westCoast, viewport: desk });
  const page = await context.newPage();
  const session = await backend.createSession("clock.sh", "true");
  await backend.postEvents(session, storyEvents(new Date("2026-11-20T23:15:30Z"))); // 15:15:30 there
  const browserTime = await page.evaluate(() => new Date("2026-11-20T23:15:30Z").toLocaleTimeString());
  expect(browserTime).toMatch(/^3:15:30\sPM$/);
  const read = async (where: string) => {
    const shown = await texts(page);
    expect(shown.match(/\b\d{1,2}:\d\d(:\d\d)?(\.\d+)?\s?[AP]\.?M\b.{0,20}/gi) ?? [], where).toEqual([]);
    // The browser itself draws these, by its locale.
    expect(await page.locator("input[type=time], input[type=datetime-local]").count(), where).toBe(0);
    return shown;
  };
  const expected: Record<(typeof views)[number], RegExp> = {
    events: /\b15:15:30\.000000/,
    processes: /\b15:15:3\d\.\d{3}/,
    files: /\b15:1\d:\d\d/,
    http: /\b15:15:\d\d/,
    network: /\b15:15:\d\d/,
  };
  for (const view of views) {
    await openView(page, session, view);
    await expect.poll(() => read(view)).toMatch(expected[view]);
  }
  await rows(page, "network").first().click();
  await read("a connection");
  await openView(page, session, "processes");
  await rows(page, "processes").last().click();
  await page
    .getByRole("region", { name: "Chosen process" })
    .getByText(/^15:\d\d:\d\d\.\d{6}, last seen 15:/)
    .waitFor();
  await read("a process");
  await openView(page, session, "events", "?seq=1");
  await page.getByRole("complementary", { name: "Event 1" }).getByText("session_start").first().waitFor();
  await read("an event");
  await page.getByRole("button", { name: /lost on the way/ }).click();
  await page.getByRole("button", { name: /^37 from 15:20:28\.000000 to 15:20:30\.000000/ }).waitFor();
  await read("the completeness");
  await page.goto("/");
  await page.getByRole("row", { name: /clock\.sh/ }).waitFor();
  await read("the sessions");
});

test("the fields of an event have the values inside its lists and objects, with their path", async ({
  page,
  backend,
}) => {
  const session = await backend.createSession("nested.sh", "true");
  const event = (event_type: string, data: object) => ({
    event_type,
    timestamp: "2026-11-20T10:00:00Z",
    source: "os-pulse-agent",
    data,
  });
  await backend.postEvents(session, [
    event("network_operation", {
      operation: "Send",
      protocol: "udp",
      dns: [
        {
          id: 7,
          response: false,
          questions: [
            { name: "first.example", type: "A" },
            { name: "second.example", type: "AAAA" },
          ],
        },
      ],
      metadata: { processName: "x", processId: 7 },
    }),
    event("session_end", {
      reason: "exited",
      exitCode: 0,
      sandbox: { output: "<b>hello</b>", limits: ["memory"] },
    }),
  ]);
  const shows = async (seq: number, fields: [string, string][]) => {
    await page.goto(viewPath(session, "events", `?seq=${seq}`));
    const panel = page.getByRole("complementary", { name: `Event ${seq}` });
    for (const [label, value] of fields) {
      const name = page.getByRole("term").getByText(label, { exact: true });
      const row = panel.locator("dl > div").filter({ has: name });
      await row.getByRole("definition").getByText(value, { exact: true }).waitFor();
    }
  };
  await shows(1, [
    ["dns[0].questions[0].name", "first.example"],
    ["dns[0].questions[1].name", "second.example"],
    ["dns[0].questions[1].type", "AAAA"],
    ["dns[0].id", "7"],
  ]);
  await shows(2, [
    ["sandbox · output", "<b>hello</b>"],
    ["sandbox.limits[0]", "memory"],
  ]);
});
