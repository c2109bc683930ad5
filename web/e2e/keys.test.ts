import type { Page } from "playwright-core";
import { violations } from "./axe";
import { desk, expect, telephone, test } from "./test";

const unauthorized = /status of 40[13]|401 \(Unauthorized\)|403 \(Forbidden\)/;

/** Opens an item of the menu with the settings. */
async function choose(page: Page, item: string) {
  await page.getByRole("button", { name: /^Settings/ }).click();
  await page.getByRole("menuitem", { name: item }).click();
}

/** Creates a key in the dialog, and returns it. */
async function create(page: Page, name: string, role?: string): Promise<string> {
  await page.getByRole("button", { name: "New key" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill(name);
  if (role) await dialog.getByLabel("Role").selectOption(role);
  await dialog.getByRole("button", { name: "Create", exact: true }).click();
  const key = (await dialog.getByTestId("key").textContent()) ?? "";
  expect(key).toMatch(/^osp_[A-Z2-7]{26}$/);
  expect(await violations(page, "[role=dialog]")).toEqual([]);
  await dialog.getByRole("button", { name: "Done" }).click();
  return key;
}

/** Signs in by keyboard: the field has the focus. */
async function signIn(page: Page, key: string) {
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.keyboard.insertText(key);
  await page.keyboard.press("Enter");
}

test("the first key closes the door; people sign in, see what their role may do, and sign out", async ({
  backend,
  openWindow,
}) => {
  const session = await backend.createSession("sample.sh", "#!/bin/sh\n");
  const { context, faults } = await openWindow({ viewport: desk });
  faults.allow(unauthorized);
  const page = await context.newPage();
  await page.goto("/");
  await choose(page, "Keys");
  await page.getByText("No keys").waitFor();
  expect(await violations(page, "body")).toEqual([]);

  await create(page, "Ada");
  // The browser that created the first key is signed in.
  await page.getByRole("row", { name: /Ada.*you.*admin/ }).waitFor();
  const viewer = await create(page, "Vic <b>bold</b>", "Viewer: reads");
  await page.getByRole("row", { name: /Vic <b>bold/ }).waitFor();
  expect(await violations(page, "body")).toEqual([]);

  const other = await openWindow({ viewport: telephone });
  other.faults.allow(unauthorized);
  const phone = await other.context.newPage();
  await phone.goto(`/sessions/${session}`);
  await phone.getByRole("heading", { name: "Sign in" }).waitFor();
  expect(await violations(phone, "body")).toEqual([]);
  await signIn(phone, "osp_wrong");
  await phone.getByRole("alert").getByText("the key is not valid").waitFor();
  await phone.getByLabel("Key").fill(viewer);
  await phone.keyboard.press("Enter");
  await phone.getByRole("heading", { name: "sample.sh" }).waitFor();
  expect(await phone.getByRole("button", { name: "Start" }).count()).toBe(0);
  expect(await phone.getByRole("button", { name: "Export" }).count()).toBe(0);
  expect(await phone.evaluate(() => document.cookie)).toBe("");

  await page.getByRole("button", { name: "Revoke the key of Vic" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("row", { name: /Vic.*revoked/ }).waitFor();
  await phone.getByRole("heading", { name: "Sign in" }).waitFor();

  await choose(page, "Audit");
  await page.getByRole("row", { name: /Ada.*Revoke a key/ }).waitFor();
  expect(await violations(page, "body")).toEqual([]);
  await page.getByLabel("Action").selectOption("Upload a file");
  await page.getByRole("link", { name: session }).waitFor();
  await expect.poll(() => page.getByRole("row").count()).toBe(2);

  await choose(page, "Sign out");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
});
