/** The request that a curl command sends. */
export interface CurlRequest {
  method: string;
  url: string;
  headers: [name: string, value: string][];
  /** The body as sent: text, or bytes if it is not text. */
  body?: string | Uint8Array;
}

// curl sets these itself; a second value would contradict the body.
const ownHeaders = new Set(["content-length", "transfer-encoding", "accept-encoding", "connection"]);

/** The curl command that repeats a request. It is quoted so that the shell executes none of its contents. */
export function curlCommand({ method, url, headers, body }: CurlRequest): string {
  const parts = ["curl", "--globoff", "--url", shellQuote(url)];
  if (method !== "GET" || body !== undefined) parts.push("--request", shellQuote(method));
  for (const [name, value] of headers) {
    if (ownHeaders.has(name.toLowerCase())) continue;
    // curl sends a header without a value only if it ends in a semicolon.
    parts.push("--header", shellQuote(value === "" ? `${name};` : `${name}: ${value}`));
  }
  if (typeof body === "string") parts.push("--data-raw", shellQuote(body));
  const command = parts.join(" ");
  if (!(body instanceof Uint8Array)) return command;
  return `printf %s ${shellQuote(base64(body))} | base64 -d | ${command} --data-binary @-`;
}

/** Quotes a word for a POSIX shell. A word with controls, which could affect a terminal, needs bash or zsh. */
export function shellQuote(text: string): string {
  if (!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const bytes = new TextEncoder().encode(text);
  let quoted = "$'";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    quoted +=
      byte >= 0x20 && byte < 0x7f && !/['\\]/.test(character)
        ? character
        : `\\x${byte.toString(16).padStart(2, "0")}`;
    // An escape has at most two digits, so following characters cannot become part of it.
  }
  return `${quoted}'`;
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000)
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
