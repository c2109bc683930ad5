import { join } from "node:path";
import type { BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { inject } from "vitest";
import { violations } from "./axe";
import { Backend, freePort, patience, Service } from "./harness";
import { desk, expect, telephone, test } from "./test";
import { Faults } from "./watch";

/** Starts a real provider, whose site is another than the backend's, and a backend that uses it. */
async function start(): Promise<{ backend: Backend; provider: Service; issuer: string }> {
  const port = await freePort();
  const issuer = `http://localhost:${port}`;
  let redirectURL = "";
  const backend = await Backend.start(inject("programs"), (url) => {
    redirectURL = `${url}/api/oidc/callback`;
    return {
      PUBLIC_URL: url,
      OIDC_ISSUER: issuer,
      OIDC_CLIENT_ID: "ospulse",
      OIDC_CLIENT_SECRET: "secret-of-the-test",
      OIDC_ROLE_CLAIM: "realm_access.roles",
      OIDC_ROLES: "admins=admin,staff=viewer",
      OIDC_NAME: "Lab <b>login</b>",
    };
  });
  const provider = new Service(
    process.execPath,
    [join(import.meta.dirname, "provider.mjs"), String(port), redirectURL],
    {},
    `${issuer}/.well-known/openid-configuration`,
  );
  return { backend, provider, issuer };
}

const button = { name: "Sign in with Lab <b>login</b>" };

/** Signs in at the provider's page, which is open. */
async function signInAtProvider(page: Page, name: string) {
  await page.locator("[name=login]").fill(name);
  await page.locator("[name=password]").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await page.getByRole("button", { name: "Continue" }).click();
}

test("people sign in at a real provider with the role that it says, and an admin signs them out", async ({
  browser,
  onTestFinished,
}) => {
  const { backend, provider, issuer } = await start();
  const opened: { context: BrowserContext; faults: Faults }[] = [];
  onTestFinished(async () => {
    for (const { context } of opened) await context.close();
    await provider.end("SIGTERM");
    await backend.remove();
  });
  const open = async (options: BrowserContextOptions): Promise<Page> => {
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    // The pages of the provider ask for a font of another host.
    await context.route(
      ({ hostname }) => !["127.0.0.1", "localhost"].includes(hostname),
      (route) => route.fulfill({ contentType: "text/css", body: "" }),
    );
    const faults = await Faults.watch(context, backend.url);
    faults.allow(/^request to (http:\/\/localhost:|https:\/\/fonts\.googleapis\.com\/)|401 \(Unauthorized\)/);
    context.setDefaultTimeout(patience);
    opened.push({ context, faults });
    return context.newPage();
  };
  const page = await open({ viewport: desk });

  // The backend started without the provider, and says so.
  await page.goto(`${backend.url}/findings?level=high`);
  await page.getByRole("link", button).click();
  await page.getByRole("alert").getByText("The provider does not answer.").waitFor();
  expect(page.url()).toBe(`${backend.url}/findings?level=high#sign-in-error=provider`);
  expect(await violations(page, "body")).toEqual([]);
  await provider.start();

  // By keyboard, and back to the page that was wanted.
  await page.getByLabel("Key").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await signInAtProvider(page, "ada");
  await page.getByRole("heading", { name: "Findings" }).waitFor();
  expect(page.url()).toBe(`${backend.url}/findings?level=high`);
  expect(await page.evaluate(() => document.cookie)).toBe("");
  await page.getByRole("button", { name: /^Settings/ }).click();
  await page.getByText("ada (admin)").waitFor();
  await page.getByRole("menuitem", { name: "Keys" }).click();
  await page.getByRole("row", { name: /ada.*you.*admin/ }).waitFor();

  // Who has no role learns it; the next person in that browser gets theirs.
  const phone = await open({ viewport: telephone });
  await phone.goto(backend.url);
  expect(await violations(phone, "body")).toEqual([]);
  await phone.getByRole("link", button).click();
  expect(new URL(phone.url()).origin).toBe(issuer);
  await signInAtProvider(phone, "eve");
  await phone.getByRole("alert").getByText("Your account has no role in OS-Pulse.").waitFor();
  expect(await violations(phone, "body")).toEqual([]);
  await phone.context().clearCookies(); // the provider knows eve
  await phone.getByRole("link", button).click();
  await signInAtProvider(phone, "vic");
  await phone.getByText("No sessions yet").waitFor();
  expect(await phone.getByRole("button", { name: "Upload a file" }).count()).toBe(0);

  await page.reload();
  expect(await violations(page, "body")).toEqual([]);
  await page.getByRole("button", { name: "End the sign-ins of vic" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End sign-ins" }).click();
  await phone.getByRole("heading", { name: "Sign in" }).waitFor();

  await page.goto(`${backend.url}/audit`);
  await page.getByRole("row", { name: /ada.*End sign-ins/ }).waitFor();
  await page.getByRole("row", { name: /eve.*Sign in at the provider.*forbidden/ }).waitFor();
  await page.getByRole("button", { name: /^Settings/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  expect(opened.flatMap(({ faults }) => faults.list())).toEqual([]);
});
