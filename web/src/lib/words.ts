/**
 * Splits a line into words as a shell does: at spaces that are not in quotes, of which
 * '…' takes everything as it is and "…" lets \" and \\ through. Nothing is expanded.
 * undefined when a quote is not closed.
 */
export function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote: "'" | '"' | undefined;
  for (let i = 0; i < line.length; i++) {
    const character = line[i] ?? "";
    if (character === "\\" && quote !== "'" && i + 1 < line.length) {
      const next = line[++i] ?? "";
      // In double quotes a backslash before anything else is itself.
      word = (word ?? "") + (quote === '"' && next !== '"' && next !== "\\" ? character : "") + next;
    } else if (character === quote) {
      quote = undefined;
    } else if (quote === undefined && (character === "'" || character === '"')) {
      quote = character;
      word ??= "";
    } else if (quote === undefined && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== undefined) return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
