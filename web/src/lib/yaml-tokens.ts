/** A part of a line that is drawn in a color. Positions are UTF-16 units in the line. */
export interface YamlToken {
  from: number;
  to: number;
  kind: "key" | "string" | "constant" | "mark" | "comment";
}

// An indentation with "- " of lists, and a key before a colon, which may be quoted.
const start =
  /^(\s*(?:- +)*)((?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#"'{}[\],&*!|>%@`-][^#:]*?)\s*)(:)(?=\s|$)/;
const rest =
  /(\s#.*$|^#.*$)|("(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?)|([[\]{},]|^\s*-(?=\s|$))|(?<![\w.-])(true|false|null|-?\d+(?:\.\d+)?)(?=\s*(?:[,\]}#]|$))/g;

/**
 * Finds the parts of a line of YAML that are worth a color. It reads each line alone, so it
 * takes a line of a block of text for YAML.
 */
export function yamlTokens(line: string): YamlToken[] {
  // A longer line is drawn without colors, as it is no rule that a person reads.
  if (line.length > 2000) return [];
  const tokens: YamlToken[] = [];
  let at = 0;
  const key = start.exec(line);
  if (key) {
    const [, indent = "", name = ""] = key;
    if (indent.includes("-"))
      tokens.push({ from: indent.indexOf("-"), to: indent.trimEnd().length, kind: "mark" });
    at = indent.length + name.length + 1;
    tokens.push({ from: indent.length, to: at - 1, kind: "key" }, { from: at - 1, to: at, kind: "mark" });
  }
  rest.lastIndex = at;
  for (let found = rest.exec(line); found; found = rest.exec(line)) {
    const [, comment, string, mark] = found;
    const kind = comment ? "comment" : string ? "string" : mark ? "mark" : "constant";
    tokens.push({ from: found.index, to: found.index + found[0].length, kind });
  }
  return tokens;
}
