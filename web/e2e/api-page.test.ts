import { expect, telephone, test } from "./test";

interface Description {
  paths: Record<string, Record<string, { operationId?: string }>>;
  components: { schemas: Record<string, unknown> };
}

test("the API page shows every operation, every schema and the messages of streams", async ({
  backend,
  page,
}) => {
  const answer = await fetch(`${backend.url}/api/openapi.json`);
  const { paths, components } = (await answer.json()) as Description;
  const operations = Object.values(paths)
    .flatMap((path) => Object.values(path))
    .flatMap(({ operationId }) => operationId ?? []);
  expect(operations.length).toBeGreaterThan(30);

  // At an address with a slash too, and without a horizontal scrollbar on a small screen.
  await page.goto("/api/docs/");
  await page.getByRole("heading", { name: "OS-Pulse backend" }).waitFor();
  await page.setViewportSize(telephone);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(telephone.width);

  const shown = new Set(
    await page.locator("[id]").evaluateAll((all) => all.map(({ id }) => id.slice(id.lastIndexOf("/") + 1))),
  );
  expect(operations.filter((name) => !shown.has(name))).toEqual([]);
  expect(Object.keys(components.schemas).filter((name) => !shown.has(name))).toEqual([]);

  const stream = page.locator('[id="operation/streamSessions"]');
  await stream.getByRole("button", { name: /^200/ }).first().click();
  for (const event of ["ready", "session", "deleted"])
    await stream.getByRole("button", { name: event, exact: true }).waitFor();
});
