import { isContainer } from "@/components/json-tree/rows";
import { dataPath } from "@/lib/filter";
import { type JsonValue, jsonAt, jsonEntries, jsonString } from "@/lib/json";
import { kindOf } from "@/lib/kind";
import { ntHex, ntName } from "@/lib/nt-status";

/** A value of the data that gets its own line. */
interface DataField {
  label: string;
  steps: (string | number)[];
  value: JsonValue;
  /** The value as text, at most 1,000 characters. */
  text: string;
  /** The meaning of the value, such as the name of a status. */
  meaning?: string;
}

// The most important fields of each kind, in the order in which people read them.
const firstOf: Record<string, string[]> = {
  file: [
    "filePath",
    "givenPath",
    "newFilePath",
    "newPath",
    "linkTarget",
    "mode",
    "ownerId",
    "groupId",
    "device",
    "accessTime",
    "modificationTime",
    "bytesTransferred",
    "offset",
    "length",
    "protection",
    "flags",
    "resolve",
    "error",
    "status",
  ],
  process: [
    "imagePath",
    "commandLine",
    "currentDirectory",
    "interpreter",
    "newProcessId",
    "parentProcessId",
    "exitCode",
    "signalName",
    "error",
    "status",
  ],
  http: [
    "request.method",
    "request.url",
    "request.http_version",
    "response.status_code",
    "response.reason",
    "request.body.size",
    "response.body.size",
    "response.headers.Content-Type",
    "request.headers.User-Agent",
    "tls",
    "role",
  ],
  network: ["protocol", "src", "src_port", "dst", "dst_port", "bytesTransferred", "error", "status"],
  packet: ["protocol", "src", "src_port", "dst", "dst_port", "length", "info_raw", "frame_number"],
  loss: ["count", "reason", "from", "to", "cpu"],
};

// Other tabs, or the fields above, show these.
const elsewhere = new Set(["content", "operation"]);
// The agent's own ID of the session, and members that the event's fields repeat.
const known = new Set(["sessionId", "processName", "processId"]);
const maxFields = 300;
const maxDepth = 32;
const maxText = 1000;

/**
 * The values of the data: first the important ones of the kind, then the other members at the
 * top, then all nested values with their path. isCut says that there are more.
 */
export function dataFields(eventType: string, text: string, data: JsonValue) {
  const fields: DataField[] = [];
  const seen = new Set<string>();
  let isCut = false;
  const add = (steps: (string | number)[], value: JsonValue | undefined) => {
    const name = dataPath(steps);
    if (!value || isContainer(value) || seen.has(name)) return;
    if (fields.length >= maxFields) {
      isCut = true;
      return;
    }
    seen.add(name);
    const said =
      value.kind === "string" ? jsonString(text, value, maxText) : text.slice(value.from, value.to);
    fields.push({ label: labelOf(steps), steps, value, text: said, meaning: meaningOf(steps, said) });
  };
  for (const path of firstOf[kindOf(eventType).kind] ?? []) {
    const steps = path.split(".");
    add(steps, jsonAt(text, data, steps));
  }
  const walk = (steps: (string | number)[], container: JsonValue) => {
    const { entries } = jsonEntries(text, container, maxFields + 1);
    const isHidden = (key: string | number) =>
      steps.length === 0
        ? elsewhere.has(String(key))
        : steps.length === 1 && steps[0] === "metadata" && known.has(String(key));
    for (const { key, value } of entries) if (!isHidden(key)) add([...steps, key], value);
    for (const { key, value } of entries) {
      if (!isContainer(value) || isCut) continue;
      if (steps.length < maxDepth) walk([...steps, key], value);
      else isCut = true;
    }
  };
  if (isContainer(data)) walk([], data);
  return { fields, isCut };
}

/** bytesTransferred → bytes transferred. Values nested deeper have their path. */
function labelOf(steps: readonly (string | number)[]): string {
  const shown = steps[0] === "metadata" && steps.length === 2 ? steps.slice(1) : steps;
  if (shown.length > 2 || shown.some((step) => typeof step === "number"))
    return dataPath(shown).slice("data".length).replace(/^\./, "");
  return shown
    .map((step) =>
      String(step)
        .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
        .replaceAll(/[_-]/g, " ")
        .toLowerCase(),
    )
    .join(" · ");
}

function meaningOf(steps: readonly (string | number)[], said: string): string | undefined {
  const name = steps.at(-1);
  if (name === "status" && /^-?\d{1,10}$/.test(said)) {
    const status = Number(said);
    return [status < -4096 ? ntHex(status) : "", ntName(status)].filter(Boolean).join(" ") || undefined;
  }
  if (name === "bytesTransferred" && /^\d{10}$/.test(said) && Number(said) > 0x7fffffff)
    return `${Number(said) - 2 ** 32} as a signed number`;
  return undefined;
}
