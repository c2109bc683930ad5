import { expect, test } from "vitest";
import { jsonRoot } from "@/lib/json";
import { dataFields } from "./fields";

const shown = (data: unknown, type = "raw_network_operation") => {
  const text = JSON.stringify(data);
  const root = jsonRoot(text);
  if (!root) throw new Error("no JSON");
  const { fields, isCut } = dataFields(type, text, root);
  return { rows: fields.map((field) => `${field.label}: ${field.text}`), isCut };
};

test("nested values are rows with their path, once each", () => {
  const data = {
    protocol: "DNS",
    info: { dns: { question: [{ name: "evil.example", type: "A" }], answers: [] } },
    metadata: { processId: 4, sandbox: { output: "hello" }, user: "root" },
    "odd.key": { "a b": [[1], null] },
    content: "AAAA",
  };
  expect(shown(data).rows).toEqual([
    "protocol: DNS",
    "info.dns.question[0].name: evil.example",
    "info.dns.question[0].type: A",
    "user: root",
    "metadata.sandbox.output: hello",
    '["odd.key"]["a b"][1]: null',
    '["odd.key"]["a b"][0][0]: 1',
  ]);
  expect(shown(data).isCut).toBe(false);
});

test("paths that look alike are different values", () => {
  expect(shown({ "a.b": 1, a: { b: 2 } }).rows).toHaveLength(2);
});

test("what has no row is said", () => {
  const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, i]));
  expect(shown({ inner: many })).toMatchObject({ isCut: true });
  expect(shown({ inner: many }).rows).toHaveLength(300);
  const deep = JSON.parse(`${'{"a":'.repeat(60)}1${"}".repeat(60)}`);
  expect(shown(deep).isCut).toBe(true);
});
