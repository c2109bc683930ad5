/**
 * The path under which the dashboard is served: "" at the root, "/osp" behind a proxy
 * that serves it at /osp/. It is taken from the address of the page's icon, which is
 * relative to that path. It is read at the start, before the page's address changes and
 * relative addresses with it.
 */
export const basePath = readBase();

function readBase(): string {
  const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
  if (!icon) return "";
  icon.href = new URL(icon.href).href; // made absolute, because browsers request the icon again
  return new URL(".", icon.href).pathname.slice(0, -1);
}

/** The address of a resource of a session. rest begins with a slash. */
export function sessionPath(sessionId: string, rest: string): string {
  return `${basePath}/api/sessions/${encodeURIComponent(sessionId)}${rest}`;
}
