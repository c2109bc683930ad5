const grouped = new Intl.NumberFormat("en-US");

/** 128,411 */
export function formatCount(n: number): string {
  return grouped.format(n);
}

/** 950, 12.4k, 1.28M: for narrow places. */
export function formatShort(n: number): string {
  if (n < 1000) return String(n);
  for (const [limit, unit] of [
    [1e6, "k"],
    [1e9, "M"],
    [1e12, "G"],
  ] as const) {
    if (n < limit * 0.9995) {
      const value = n / (limit / 1000);
      return `${value < 99.95 ? value.toFixed(value < 9.995 ? 2 : 1) : Math.round(value)}${unit}`;
    }
  }
  return n.toExponential(2);
}

/** 0 B, 412 B, 4.0 KB, 1.2 MB, of 1024 each. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  let unit = "B";
  for (const next of ["KB", "MB", "GB", "TB", "PB"]) {
    if (value < 1023.95) break;
    value /= 1024;
    unit = next;
  }
  return `${value < 99.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

const rules = new Intl.PluralRules("en-US");

/** "1 event", "2 events". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${formatCount(n)} ${rules.select(n) === "one" ? one : many}`;
}
