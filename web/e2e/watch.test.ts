import { desk, expect, test } from "./test";
import { Faults, trap } from "./watch";

// A watch that finds nothing is useless: the test makes each kind of fault once.
const faults = {
  "an error in the console": [`console.error("odd")`, /^console: odd/],
  "an exception": [`setTimeout(() => { throw new Error("odd") })`, /^exception: Error: odd/],
  "a script in the page": [
    `{ const s = document.createElement("script"); s.textContent = "${trap}(1)"; document.body.append(s) }`,
    /^policy: script-src/,
  ],
  "a request to another host": [`location.assign("http://192.0.2.1/")`, /^request to http:\/\/192/],
  "a dialog": [`setTimeout(() => alert("odd"))`, /^dialog: odd/],
  "code of an event": [`${trap}("odd")`, /^an event's code ran: odd/],
} satisfies Record<string, [script: string, found: RegExp]>;

for (const [name, [script, found]] of Object.entries(faults)) {
  test(`${name} is found`, async ({ backend, browser }) => {
    const context = await browser.newContext({ viewport: desk });
    const watch = await Faults.watch(context, backend.url);
    const page = await context.newPage();
    await page.goto(backend.url);
    expect(watch.list()).toEqual([]);
    await page.evaluate(script);
    await expect.poll(() => watch.list()).toContainEqual(expect.stringMatching(found));
    await context.close();
  });
}
