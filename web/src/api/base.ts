/**
 * The path under which the dashboard is served: "" at the root, "/osp" behind a proxy
 * that serves it at /osp/. The page names its icon relative to that path. It is read
 * before the address changes, as relative addresses change with it.
 */
export const basePath = readBase();

function readBase(): string {
  const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
  if (!icon) return "";
  icon.href = new URL(icon.href).href; // absolute from here on: browsers ask for it again
  return new URL(".", icon.href).pathname.slice(0, -1);
}

/** The address of a resource of a session. rest begins with a slash. */
export function sessionPath(sessionId: string, rest: string): string {
  return `${basePath}/api/sessions/${encodeURIComponent(sessionId)}${rest}`;
}
