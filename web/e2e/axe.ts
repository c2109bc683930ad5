import axe, { type RunOptions } from "axe-core";
import type { Page } from "playwright-core";

// The details of what passes would take four times as long as the checks.
const standards: RunOptions = {
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
  resultTypes: ["violations"],
  selectors: false,
};
/** The rules whose result can differ between themes that draw the same elements in the same places. */
const ofColors: RunOptions = { ...standards, runOnly: ["color-contrast", "link-in-text-block"] };

/**
 * Returns the violations of WCAG 2.2 AA that axe finds in both themes, one per line. If a
 * dialog or menu is open, axe checks only that: the rest of the page cannot be reached then.
 * Of rows that differ only in their texts and numbers, it checks one. In the second theme it
 * checks only the colors, unless that theme changes an element.
 */
export async function violations(page: Page, within: string): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const lines: string[] = [];
  let drawn = "";
  for (const colorScheme of ["dark", "light"] as const) {
    await page.emulateMedia({ colorScheme });
    const { form, found } = await page.evaluate(
      async ([where, all, some, before]) => {
        // An element has its final colors when its animation has ended.
        await Promise.all(
          document
            .getAnimations()
            .filter((a) => a.effect?.getTiming().iterations !== Number.POSITIVE_INFINITY)
            .map((a) => a.finished),
        );
        const formOf = (element: Element) =>
          element.outerHTML
            .replaceAll(/>[^<]+/g, ">x")
            .replaceAll(/( (?:title|aria-label|id|[a-z-]*by)=")[^"]+/g, "$1x")
            .replaceAll(/\d+/g, "0");
        const places = [...document.querySelectorAll("body *")].map((element) => {
          const { x, y, width, height } = element.getBoundingClientRect();
          return [x, y, width, height, element.checkVisibility({ visibilityProperty: true })].join();
        });
        const form = `${formOf(document.body)} ${places.join(" ")}`;
        const seen = new Set<string>();
        const repeated = [...document.querySelectorAll("[role=row]")].filter(
          (row) => seen.size === seen.add(`${getComputedStyle(row).backgroundColor} ${formOf(row)}`).size,
        );
        // The arrow keys of the field move in the list of completions; the list takes no focus.
        const exclude = [...document.querySelectorAll(".cm-tooltip"), ...repeated];
        const { axe: checker } = globalThis as unknown as { axe: typeof axe };
        const options = form === before ? some : all;
        const { violations: found } = await checker.run({ include: where, exclude }, options);
        return { form, found };
      },
      [within, standards, ofColors, drawn] as const,
    );
    drawn = form;
    for (const { id, nodes } of found)
      for (const { html, failureSummary } of nodes.slice(0, 5))
        lines.push(`${colorScheme}: ${id}: ${html.slice(0, 160)} ${failureSummary?.slice(0, 300) ?? ""}`);
  }
  return lines;
}
