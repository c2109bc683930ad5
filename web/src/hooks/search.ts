import { useSearch as useBrowserSearch } from "wouter/use-browser-location";

/**
 * The search part of the address, for wouter's Router. wouter decodes it before it is
 * parsed, which decodes it again: "%252F" would become "/" instead of "%2F", and a filter
 * for "%2F" another filter. Escaping each "%" undoes that.
 */
export function useRawSearch(): string {
  return useBrowserSearch().replaceAll("%", "%25");
}
