/**
 * The path under which the dashboard is served: "" at the root, "/osp" behind a proxy
 * that serves it at /osp/. readBase derives it from the page's icon, whose address is
 * relative to that path. It must run at the start: later the page's address changes, and
 * relative addresses change with it.
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
