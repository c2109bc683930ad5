import { expect, test } from "vitest";
import { noSelection, selectionOf } from "./selection-fields";

test("the request has a selection only if something was chosen", () => {
  expect(selectionOf(noSelection)).toEqual({});
  expect(selectionOf({ ...noSelection, onlyPaths: " : " })).toEqual({});
  expect(
    selectionOf({ leaveOut: new Set(["reads"]), onlyPaths: "/home: /etc", leaveOutPaths: "/usr:" }),
  ).toEqual({
    selection: { leaveOut: ["reads"], onlyPaths: ["/home", "/etc"], leaveOutPaths: ["/usr"] },
  });
});
