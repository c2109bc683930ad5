import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, call, type Process, type SessionDetail } from "@/api/client";
import { fetchTree, wholeTree } from "@/api/process-tree";
import { keys } from "@/api/queries";
import { asFound, isDataPath, quote } from "@/lib/filter";
import {
  type FieldInfo,
  fieldInfo,
  fields,
  operatorsOf,
  type Place,
  pathsOf,
  placeAt,
  typeClause,
  writeValue,
} from "@/lib/filter-language";
import { formatShort } from "@/lib/number";
import { plainText } from "@/lib/text";

/** A text that can be inserted at the cursor. */
interface Suggestion {
  /** The shown text, without hidden characters. */
  label: string;
  detail: string;
  insert: string;
  kind: "field" | "operator" | "value" | "path" | "joint";
}

export interface Suggestions {
  /** Where the replaced text begins; it ends at the cursor. */
  from: number;
  items: Suggestion[];
}

const most = 50;

/** Returns the suggestions for a place of the filter. */
export async function suggest(
  text: string,
  cursor: number,
  source: SuggestionSource,
): Promise<Suggestions | undefined> {
  const place = placeAt(text, cursor);
  const items = await itemsFor(place, text, cursor, source);
  return items.length === 0 ? undefined : { from: place.from, items };
}

async function itemsFor(
  place: Place,
  text: string,
  cursor: number,
  source: SuggestionSource,
): Promise<Suggestion[]> {
  switch (place.wants) {
    case "condition": {
      const isPath = /^data[.[]/i.test(place.typed);
      // Every letter may begin a path, but not every letter is worth a request.
      const paths = isPath || place.typed.length > 1 ? await source.paths(typeClause(text)?.types) : [];
      const others = new Map(
        [...(isPath ? [] : resultItems), ...pathItems(paths), ...resultItems].map((item) => [
          item.label,
          item,
        ]),
      ).values();
      return matching(
        isPath ? [...others] : [...fields.map(fieldItem), ...processTests, ...others],
        place.typed,
      );
    }
    case "comparison":
      return matching(
        operatorsOf(place.field).map(({ text: operator, about }) => ({
          label: operator,
          detail: about,
          insert: operator.endsWith("in") ? `${operator} (` : `${operator} `,
          kind: "operator" as const,
        })),
        place.typed,
      );
    case "value":
      return matching(await valueItems(place.field, place.comparison, source), place.typed);
    case "process":
      return (await source.processes(place.typed)).map(({ id, pid, name, command_line }) => ({
        label: plainText(`${name || "(no name)"} ${pid}`, 80),
        detail: plainText(command_line, 60),
        insert: `"${id}"${text.startsWith(")", cursor) ? "" : ")"}`,
        kind: "value" as const,
      }));
    case "joint":
      return ["and", "or"].map((word) => ({ label: word, detail: "", insert: `${word} `, kind: "joint" }));
  }
}

function fieldItem(field: FieldInfo): Suggestion {
  const insert = field.type === "data" ? field.name : `${field.name} `;
  return { label: field.name, detail: field.about, insert, kind: "field" };
}

const processTests: readonly Suggestion[] = [
  ["under", "a process and its descendants"],
  ["only", "a process alone"],
].map(([label = "", detail = ""]) => ({ label, detail, insert: `${label}(`, kind: "field" }));

/** The fields that tell the result of an event. They are suggested for "result" and "error", too. */
const resultItems: readonly Suggestion[] = [
  ["data.error", "result: error of a call, such as ENOENT"],
  ["data.status", "result: 0, or a negative number"],
  ["data.exitCode", "result: exit code of a process"],
  ["data.signalName", "result: signal that killed a process"],
  ["data.response.status_code", "result: status of an HTTP answer"],
].map(([label = "", detail = ""]) => ({ label, detail, insert: `${label} `, kind: "path" }));

function pathItems(paths: readonly { path: string; type: string }[]): Suggestion[] {
  return paths.map(({ path, type }) => ({
    label: plainText(path, 200),
    detail: type,
    insert: `${path} `,
    kind: "path" as const,
  }));
}

async function valueItems(
  field: string,
  comparison: string,
  source: SuggestionSource,
): Promise<Suggestion[]> {
  if (isDataPath(field)) return dataItems(await source.dataValues(field));
  const known = knownFields.find((name) => name === fieldInfo(field)?.name);
  if (known)
    return (await source.known(known)).map(({ value, detail }) => ({
      label: plainText(value, 120),
      detail: plainText(detail, 120),
      insert: writeValue(field, value),
      kind: "value" as const,
    }));
  const facet = facetFor(field, comparison);
  if (!facet) return [];
  return (await source.values(facet)).map(({ value, count }) => ({
    label: plainText(value, 120),
    detail: formatShort(count),
    insert: writeValue(field, facet === "extension" ? `.${value.replace(/^\./, "")}` : value),
    kind: "value" as const,
  }));
}

/** The fields whose values are rules and findings. */
const knownFields = ["routine", "finding", "finding.level", "technique"] as const;
type KnownField = (typeof knownFields)[number];

/** Suggests values of the data, the most frequent first. */
function dataItems(values: readonly unknown[]): Suggestion[] {
  const counts = new Map<string | number | boolean, number>();
  for (const value of values)
    if (typeof value === "string" || typeof value === "boolean" || Number.isSafeInteger(value))
      counts.set(value as string, (counts.get(value as string) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([value]) => ({
      label: plainText(String(value), 120),
      detail: "",
      insert: typeof value === "string" ? quote(asFound(value)) : String(value),
      kind: "value" as const,
    }));
}

type FacetField = "type" | "operation" | "process" | "source" | "pid" | "target" | "host" | "extension";

/** The facet that has a field's values: for parts of a target, hosts or extensions. */
function facetFor(field: string, comparison: string): FacetField | undefined {
  const name = fieldInfo(field)?.name;
  if (name === "target") {
    if (comparison.endsWith("contains")) return "host";
    return comparison.endsWith("endswith") ? "extension" : "target";
  }
  return (["type", "operation", "process", "source", "pid"] as const).find((known) => known === name);
}

/**
 * The items that begin with the typed text, then those with a step of their path or a
 * description that does, then those that contain it.
 */
function matching(items: readonly Suggestion[], typed: string): Suggestion[] {
  const wanted = typed.toLowerCase();
  const ranks: Suggestion[][] = [[], [], []];
  for (const item of items) {
    const label = item.label.toLowerCase();
    const begins = (text: string) => text.startsWith(wanted);
    if (begins(label)) ranks[0]?.push(item);
    else if (item.kind === "path" && (label.split(/[.[]/).some(begins) || begins(item.detail)))
      ranks[1]?.push(item);
    else if (label.includes(wanted)) ranks[2]?.push(item);
  }
  return ranks.flat().slice(0, most);
}

export interface SuggestionSource {
  /** Processes whose pid, name, image or command line contains a text. */
  processes: (text: string) => Promise<readonly Process[]>;
  /** The values of a field of rules and findings. */
  known: (field: KnownField) => Promise<readonly { value: string; detail: string }[]>;
  values: (field: FacetField) => Promise<readonly { value: string; count: number }[]>;
  /** The values at a path in the data of the newest events that have it. */
  dataValues: (path: string) => Promise<readonly unknown[]>;
  /** Paths in the data of events of these types, or of the most frequent types if none are given. */
  paths: (types?: readonly string[]) => Promise<readonly { path: string; type: string }[]>;
}

/** Suggests from the session on screen. The query cache keeps the backend's answers for a while. */
export function useSuggestionSource(sessionId: string): SuggestionSource {
  const queries = useQueryClient();
  return useMemo(
    () => ({
      processes: (q) =>
        queries
          .fetchQuery({
            queryKey: keys.of(sessionId, "processes-like", q),
            staleTime: 30_000,
            queryFn: ({ signal }) => fetchTree(sessionId, { ...wholeTree, q }, { limit: 200 }, signal),
          })
          .then(({ rows }) => rows.filter((row) => row.matches).slice(0, most))
          .catch(() => []),
      known: (field) =>
        (field === "routine" ? routineValues(queries) : findingValues(queries, sessionId, field)).catch(
          () => [],
        ),
      values: (field) =>
        queries
          .fetchQuery({
            queryKey: keys.of(sessionId, "facet", field, "", 200),
            staleTime: 30_000,
            queryFn: ({ signal }) =>
              call(
                api.GET("/api/sessions/{sessionId}/facets", {
                  params: { path: { sessionId }, query: { field, limit: 200 } },
                  signal,
                }),
              ),
          })
          .then((facet) => facet.values)
          .catch(() => []),
      dataValues: (path) =>
        queries
          .fetchQuery({
            queryKey: keys.of(sessionId, "values", path),
            staleTime: 30_000,
            queryFn: ({ signal }) => {
              const query = { filter: `exists ${path}`, order: "desc" as const, limit: 500, fields: path };
              return call(
                api.GET("/api/sessions/{sessionId}/events", {
                  params: { path: { sessionId }, query },
                  signal,
                }),
              );
            },
          })
          .then(({ events }) =>
            events.flatMap(({ fields, fields_cut }) => (fields && !fields_cut ? [fields[path]] : [])),
          )
          .catch(() => []),
      paths: async (types) => {
        const counts = queries.getQueryData<SessionDetail>(keys.session(sessionId))?.event_counts ?? {};
        const frequent = Object.entries(counts).sort((a, b) => b[1] - a[1]);
        const asked = types ?? frequent.slice(0, 6).map(([type]) => type);
        const found = await Promise.all(
          asked.slice(0, 6).map((type) => pathsOfType(queries, sessionId, type).catch(() => [])),
        );
        return [...new Map(found.flat().map((entry) => [entry.path, entry])).values()];
      },
    }),
    [queries, sessionId],
  );
}

/** The routine rules, by the names of their files, or else by their titles. */
async function routineValues(queries: QueryClient) {
  const { rules } = await queries.fetchQuery({
    queryKey: ["rules"],
    staleTime: 30_000,
    queryFn: ({ signal }) => call(api.GET("/api/rules", { signal })),
  });
  const routine = rules.filter(({ kind, state }) => kind === "routine" && state === "running");
  return [
    { value: "true", detail: "any routine rule" },
    ...routine.map(({ path, title }) => {
      const name = path && (/([^/]+)\.ya?ml$/.exec(path)?.[1] ?? "");
      return name ? { value: name, detail: title } : { value: title, detail: "" };
    }),
  ];
}

/** What the findings of a session have in a field. */
async function findingValues(queries: QueryClient, sessionId: string, field: KnownField) {
  if (field === "finding.level")
    return ["critical", "high", "medium", "low", "informational"].map((value) => ({ value, detail: "" }));
  const { findings } = await queries.fetchQuery({
    queryKey: keys.of(sessionId, "findings"),
    staleTime: 1000,
    queryFn: ({ signal }) =>
      call(api.GET("/api/sessions/{sessionId}/findings", { params: { path: { sessionId } }, signal })),
  });
  if (field === "finding")
    return [
      { value: "true", detail: "any finding" },
      ...findings.map(({ title, level }) => ({ value: title, detail: level })),
    ];
  const names = new Map(
    findings.flatMap(({ techniques }) => techniques.map(({ id, name }) => [id, name] as const)),
  );
  return [...names].map(([value, detail]) => ({ value, detail }));
}

/** The paths in the data of one event of a type, preferably of one whose data is short. */
function pathsOfType(queries: QueryClient, sessionId: string, type: string) {
  return queries.fetchQuery({
    queryKey: keys.of(sessionId, "paths", type),
    staleTime: 300_000,
    queryFn: async ({ signal }) => {
      const page = await call(
        api.GET("/api/sessions/{sessionId}/events", {
          params: {
            path: { sessionId },
            query: { filter: `type = ${writeValue("type", type)}`, limit: 10 },
          },
          signal,
        }),
      );
      const shortest = page.events.find((event) => !event.preview_is_cut) ?? page.events[0];
      if (!shortest) return [];
      const whole = await call(
        api.GET("/api/sessions/{sessionId}/events/{seq}", {
          params: { path: { sessionId, seq: shortest.seq } },
          signal,
        }),
      );
      return pathsOf(whole.data);
    },
  });
}
