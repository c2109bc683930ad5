/** Decodes the hex that agents send as content, with or without spaces; undefined if it is not hex. */
export function bytesFromHex(text: string): Uint8Array | undefined {
  const digits = text.replaceAll(/\s+/g, "");
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits)) return undefined;
  const bytes = new Uint8Array(digits.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Decodes base64; undefined if the text is not base64. */
export function bytesFromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
