/**
 * Formats JSON with line breaks and indents. Numbers and escapes stay as they were sent.
 * Truncated or invalid JSON is formatted as far as possible. Returns undefined if the text
 * does not begin like JSON.
 */
export function prettyJSON(text: string): string | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, 100))}`;
  // Tokens: a string (maybe unclosed), a structural character, or a run of other characters.
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*(?:"|$)|[[\]{},:]|[^\s[\]{},:"]+/gs)) {
    if (token === "{" || token === "[") {
      depth++;
      out += token + line();
    } else if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      out = /[[{]\s*$/.test(out.slice(-210)) ? out.trimEnd() + token : out + line() + token;
    } else if (token === ",") out += token + line();
    else out += token === ":" ? ": " : token;
  }
  return out;
}
