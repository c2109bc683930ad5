import type { components } from "@/api/schema";

/** What the agent's owner allows a start to ask for. */
export type StartOptions = components["schemas"]["StartOptions"];
type StartRequest = components["schemas"]["StartRequest"];
type Network = "none" | "nat" | "host";

/** What the reader has entered; undefined or "" for the agent's own settings. */
export interface Draft {
  network?: Network;
  seconds?: string;
  megabytes?: string;
}

export const networks: Record<Network, { label: string; hint: string }> = {
  none: { label: "None", hint: "No server is ever reached." },
  nat: {
    label: "Outside only",
    hint: "The sample reaches real servers, and they see it. It does not reach the loopback of the agent's machine.",
  },
  host: {
    label: "Same as the agent's machine",
    hint: "The sample reaches real servers, and every service of the agent's machine.",
  },
};

export const networkNames = Object.keys(networks) as Network[];

/** The network that a start would have; undefined if the agent names one that is unknown here. */
export function networkOf(draft: Draft, options: StartOptions): Network | undefined {
  return draft.network ?? networkNames.find((name) => name === options.network);
}

/** Why not all networks are available; undefined if they are. */
export function networkRule({ networks: allowed }: StartOptions): string | undefined {
  const has = (name: Network) => allowed?.includes(name);
  if (!has("host"))
    return has("nat")
      ? `“${networks.host.label}” needs an agent with --spawn-network host.`
      : "This agent allows no network. Its owner can allow one: --spawn-network nat, or host.";
  if (!has("nat"))
    return `“${networks.nat.label}” does not work on the agent's machine: it needs slirp4netns.`;
  return undefined;
}

/** The part of the request for a start; undefined if a number is outside of what is allowed. */
export function limitsOf(
  draft: Draft,
  options: StartOptions,
): Pick<StartRequest, "network" | "timeoutSeconds" | "memoryMB"> | undefined {
  const timeoutSeconds = numberIn(draft.seconds, 1, options.timeout_seconds);
  const memoryMB = numberIn(draft.megabytes, options.min_memory_mb, options.memory_mb);
  if (timeoutSeconds === null || memoryMB === null) return undefined;
  return {
    ...(draft.network && { network: draft.network }),
    ...(timeoutSeconds && { timeoutSeconds }),
    ...(memoryMB && { memoryMB }),
  };
}

/** A whole number from least to most; undefined for "", and null for anything else. */
export function numberIn(text: string | undefined, least: number, most: number): number | undefined | null {
  if (!text) return undefined;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return number >= least && number <= most ? number : null;
}
