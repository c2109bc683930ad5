/**
 * Splits a line into words at unquoted spaces, as a shell does. '…' is literal; in "…"
 * only \" and \\ are escapes. Nothing is expanded. Returns undefined if a quote is not
 * closed.
 */
export function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote: "'" | '"' | undefined;
  for (let i = 0; i < line.length; i++) {
    const character = line[i] ?? "";
    if (character === "\\" && quote !== "'" && i + 1 < line.length) {
      const next = line[++i] ?? "";
      // In double quotes, a backslash before any other character is literal.
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
