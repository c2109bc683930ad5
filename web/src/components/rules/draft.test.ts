import { act, renderHook } from "@testing-library/react";
import { beforeEach, expect, test } from "vitest";
import { copyOf, useDraft } from "./draft";

beforeEach(() => localStorage.clear());

test("a copy has all of the text but the ID of the rule", () => {
  expect(copyOf("title: x\nid: 5f0f\nlogsource:\n  id: 7\n")).toBe("title: x\nlogsource:\n  id: 7\n");
  expect(copyOf("id : 5f0f\r\ntitle: x\r\n")).toBe("title: x\r\n");
  expect(copyOf("title: x\nid: 5f0f")).toBe("title: x\n");
  expect(copyOf("title: identity\nidle: 1\n")).toBe("title: identity\nidle: 1\n");
});

test("the browser keeps a draft until it is saved or discarded, each of its rule", () => {
  const first = renderHook(() => useDraft("a"));
  expect(first.result.current[0]).toBeUndefined();
  act(() => first.result.current[1]({ text: "title: x", version: "7" }));
  expect(renderHook(() => useDraft("a")).result.current[0]).toEqual({ text: "title: x", version: "7" });
  expect(renderHook(() => useDraft("b")).result.current[0]).toBeUndefined();
  expect(renderHook(() => useDraft("")).result.current[0]).toBeUndefined();
  act(() => first.result.current[1](undefined));
  expect(localStorage).toHaveLength(0);
});

test("a stored value that is no draft is ignored", () => {
  localStorage.setItem("ospulse.draft.a", '{"text": 5}');
  expect(renderHook(() => useDraft("a")).result.current[0]).toBeUndefined();
});
