/** What a command line for curl is made of. */
export interface CurlRequest {
  method: string;
  url: string;
  headers: [name: string, value: string][];
  /** The body as it was sent; bytes where it is no text. */
  body?: string | Uint8Array;
}

// curl makes these itself; given twice they would contradict the body.
const ownHeaders = new Set(["content-length", "transfer-encoding", "accept-encoding", "connection"]);

/** The command that sends a request again. Whatever is in it, the shell runs nothing of it. */
export function curlCommand({ method, url, headers, body }: CurlRequest): string {
  const parts = ["curl", "--globoff", "--url", shellQuote(url)];
  if (method !== "GET" || body !== undefined) parts.push("--request", shellQuote(method));
  for (const [name, value] of headers) {
    if (ownHeaders.has(name.toLowerCase())) continue;
    // A header without a value is sent only with a semicolon.
    parts.push("--header", shellQuote(value === "" ? `${name};` : `${name}: ${value}`));
  }
  if (typeof body === "string") parts.push("--data-raw", shellQuote(body));
  const command = parts.join(" ");
  if (!(body instanceof Uint8Array)) return command;
  return `printf %s ${shellQuote(base64(body))} | base64 -d | ${command} --data-binary @-`;
}

/** A word of a POSIX shell; of bash and zsh where it has controls, which could do things to a terminal. */
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
    // An escape takes two digits at most, so what follows is not read into it.
  }
  return `${quoted}'`;
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000)
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
