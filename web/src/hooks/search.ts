import { useSearch as useBrowserSearch } from "wouter/use-browser-location";

/**
 * The search of the address as it stands there, for wouter's Router. wouter decodes a
 * search before anybody takes it apart, so that "%252F" would become "/" instead of
 * "%2F", and a filter that looks for "%2F" another filter.
 */
export function useRawSearch(): string {
  return useBrowserSearch().replaceAll("%", "%25");
}
