/**
 * JSON text with line breaks and indents. Numbers and escapes stay as they were sent, and
 * text that is cut or no JSON is indented as far as it goes. undefined when it begins like none.
 */
export function prettyJSON(text: string): string | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, 100))}`;
  // Strings whole (or to the end), structure, and runs of anything else.
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
