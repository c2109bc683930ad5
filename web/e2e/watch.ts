import type { BrowserContext, Page, Request } from "playwright-core";

// The function that payloads of invented events call if they run.
export const trap = "ospulseTrap";

/**
 * Watches all pages of a context for faults: a console error, an exception, a violation of
 * the Content-Security-Policy, a request to another host, a dialog, or event code that runs.
 */
export class Faults {
  private readonly found: string[] = [];
  private readonly allowed: RegExp[] = [];

  private constructor(private readonly origin: string) {}

  static async watch(context: BrowserContext, origin: string): Promise<Faults> {
    const faults = new Faults(origin);
    await context.exposeBinding("ospulseViolation", (_, text: string) => faults.add(`policy: ${text}`));
    await context.exposeBinding(trap, (_, text: unknown) => faults.add(`an event's code ran: ${text}`));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const { violatedDirective, blockedURI, sourceFile, sample } = event;
        const report = (globalThis as unknown as { ospulseViolation: (text: string) => void })
          .ospulseViolation;
        report(`${violatedDirective} ${blockedURI} ${sourceFile} ${sample}`);
      });
    });
    context.on("request", (request) => faults.request(request));
    context.on("page", (page) => faults.page(page));
    return faults;
  }

  /** Permits faults that a test causes on purpose, such as by stopping the backend. */
  allow(pattern: RegExp): void {
    this.allowed.push(pattern);
  }

  /** The faults that were not permitted. */
  list(): string[] {
    return this.found.filter((text) => !this.allowed.some((pattern) => pattern.test(text)));
  }

  private add(text: string): void {
    this.found.push(text.slice(0, 1000));
  }

  private request(request: Request): void {
    const url = new URL(request.url());
    if (["data:", "blob:"].includes(url.protocol) || url.origin === this.origin) return;
    this.add(`request to ${request.url()}`);
  }

  private page(page: Page): void {
    page.on("pageerror", (error) => this.add(`exception: ${error.stack ?? error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error") this.add(`console: ${message.text()} (${message.location().url})`);
    });
    page.on("dialog", (dialog) => {
      this.add(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("crash", () => this.add("the page crashed"));
  }
}
