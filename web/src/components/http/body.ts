import { bytesFromBase64 } from "@/lib/bytes";

/** A body as agents send it: text or base64, cut at 100 KiB. */
export interface Body {
  bytes: Uint8Array;
  /** The text, if the agent sent text. */
  text?: string;
  /** The size of the whole body in bytes; the captured part may be smaller. */
  size: number;
  truncated: boolean;
}

/** Reads the body of a flow; undefined if it is absent or empty. */
export function readBody(value: unknown): Body | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const body = value as Record<string, unknown>;
  const text = typeof body.content === "string" ? body.content : undefined;
  const bytes =
    text !== undefined
      ? new TextEncoder().encode(text)
      : typeof body.content_b64 === "string"
        ? bytesFromBase64(body.content_b64)
        : undefined;
  if (!bytes || bytes.length === 0) return undefined;
  return {
    bytes,
    text: text ?? decode(bytes),
    size: typeof body.size === "number" ? body.size : bytes.length,
    truncated: body.truncated === true,
  };
}

/** Decodes UTF-8 without NULs; undefined for other bytes. */
function decode(bytes: Uint8Array): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const images: [type: string, magic: string][] = [
  ["image/png", "\x89PNG\r\n\x1a\n"],
  ["image/jpeg", "\xff\xd8\xff"],
  ["image/gif", "GIF8"],
  ["image/bmp", "BM"],
  ["image/x-icon", "\0\0\x01\0"],
];

/**
 * The media type of an image that is safe to draw, detected from its first bytes only. The
 * Content-Type is ignored. SVG is excluded, because it can run scripts.
 */
export function imageType(bytes: Uint8Array): string | undefined {
  const begins = (magic: string, at = 0) =>
    [...magic].every((character, i) => bytes[at + i] === character.charCodeAt(0));
  if (begins("RIFF") && begins("WEBP", 8)) return "image/webp";
  return images.find(([, magic]) => begins(magic))?.[0];
}

/** The name and value pairs of a query or form; undefined if the text is not a form. */
export function readForm(text: string): [name: string, value: string][] | undefined {
  if (text === "" || /[\s<>{}"]/.test(text) || !text.includes("=")) return undefined;
  return [...new URLSearchParams(text)];
}
