import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { kinds } from "@/lib/kind";

type Color = readonly [red: number, green: number, blue: number]; // linear, 0 to 1
type Theme = Map<string, Color>;

/** The tokens of app.css as the light and the dark theme have them. */
function themes(): Theme[] {
  const css = readFileSync("src/app.css", "utf8");
  const tokens = [...css.matchAll(/--color-([a-z-]+): light-dark\(#(\w{6}), #(\w{6})\)/g)];
  return [2, 3].map((group) => new Map(tokens.map((token) => [token[1] ?? "", linear(token[group] ?? "")])));
}

function linear(hex: string): Color {
  const [red = 0, green = 0, blue = 0] = [0, 2, 4].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return [red, green, blue];
}

const luminance = ([red, green, blue]: Color) => 0.2126 * red + 0.7152 * green + 0.0722 * blue;

/** The contrast ratio of WCAG 2.2. */
function contrast(a: Color, b: Color): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

/** The color in Oklab, where distances are those that people see: bottosson.github.io/posts/oklab. */
function oklab([red, green, blue]: Color): number[] {
  const long = Math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue);
  const middle = Math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue);
  const short = Math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue);
  return [
    0.2104542553 * long + 0.793617785 * middle - 0.0040720468 * short,
    1.9779984951 * long - 2.428592205 * middle + 0.4505937099 * short,
    0.0259040371 * long + 0.7827717662 * middle - 0.808675766 * short,
  ];
}

function distance(a: Color, b: Color): number {
  const [one, other] = [oklab(a), oklab(b)];
  return Math.hypot(...one.map((value, i) => value - (other[i] ?? 0)));
}

test("the colors of kinds can be read on every surface, and told apart", () => {
  const found: string[] = [];
  for (const [index, theme] of themes().entries()) {
    const name = index === 0 ? "light" : "dark";
    const colorOf = (token: string) => theme.get(token) ?? expect.fail(`there is no ${name} ${token}`);
    const all = Object.values(kinds).map(({ kind }) => kind);
    for (const [at, kind] of all.entries()) {
      for (const surface of ["page", "surface", "raised", "sunken", "hover", "selected", "bad-soft"])
        if (contrast(colorOf(kind), colorOf(surface)) < 4.5) found.push(`${name}: ${kind} on ${surface}`);
      for (const other of all.slice(at + 1))
        if (distance(colorOf(kind), colorOf(other)) < 0.07) found.push(`${name}: ${kind} like ${other}`);
    }
  }
  expect(found).toEqual([]);
});
