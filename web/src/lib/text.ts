/**
 * Malware can write deceptive text: controls move a terminal's cursor, a right-to-left
 * override reverses "exe.txt", and zero-width characters hide between letters. The
 * dashboard shows a visible mark in place of each such character.
 */
export interface TextPart {
  text: string;
  /** The names of the characters that stand here, such as U+202E; undefined for harmless text. */
  hidden?: string;
}

// Controls, DEL and C1, soft hyphen, the combining grapheme joiner, fillers, bidirectional marks,
// embeddings, overrides and isolates, zero-width ones, separators, lone surrogates, tags, interlinear
// annotations, BOM, noncharacters, and private use.
const hidden =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]|\u034f/u;
const hiddenRun = new RegExp(hidden.source, "gu");

/** Splits text into harmless parts and marks, one mark for each hidden character. */
export function showHidden(text: string): TextPart[] {
  if (!hidden.test(text)) return text === "" ? [] : [{ text }];
  const parts: TextPart[] = [];
  let from = 0;
  for (const match of text.matchAll(hiddenRun)) {
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: symbol(match[0]), hidden: codePoint(match[0]) });
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

/** Returns the same as one string, for titles, canvases and labels, where marks cannot be styled. */
export function plainText(text: string, limit = 500): string {
  const cut = cutText(text, limit);
  return showHidden(cut.text)
    .map((part) => part.text)
    .join("")
    .concat(cut.isCut ? "…" : "");
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function symbol(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Cuts text to at most limit UTF-16 units, without splitting a surrogate pair. */
export function cutText(text: string, limit: number): { text: string; isCut: boolean } {
  if (text.length <= limit) return { text, isCut: false };
  const end = /[\ud800-\udbff]/.test(text[limit - 1] ?? "") ? limit - 1 : limit;
  return { text: text.slice(0, end), isCut: true };
}

/** The device names of Windows. No file can have them, with any extension. */
const device = /^(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³]) *(\.|$)/i;

/** Makes a file name that is safe on any system: no path, controls, direction marks or device names, and of bounded length. */
export function safeFileName(name: string): string {
  const last = name.split(/[/\\]/).pop() ?? "";
  const clean = last
    .replace(hiddenRun, "_")
    .replace(/[<>:"|?*]/g, "_")
    .replace(/^[. ]+/, "")
    .replace(device, "_$&");
  return cutText(clean, 120).text.replace(/[. ]+$/, "") || "file";
}
