import { render } from "@testing-library/react";
import { expect, test } from "vitest";
import { VariableList, variablesIn } from "./environment";

test("the loader's variables come first, and an environment has the entries without a name", () => {
  const data = JSON.parse(
    '{"environment":{"PATH":"/bin","LD_PRELOAD":"/x.so","__proto__":"p"},"environmentRest":["PATH=/second","odd","LD_AUDIT"]}',
  );
  expect(variablesIn(data)).toEqual({
    list: [
      { name: "LD_PRELOAD", value: "/x.so" },
      { value: "LD_AUDIT" },
      { name: "PATH", value: "/bin" },
      { name: "__proto__", value: "p" },
      { value: "PATH=/second" },
      { value: "odd" },
    ],
    isCut: false,
  });
});

test("an environment that the agent did not report is unknown, not empty", () => {
  for (const data of [null, undefined, "text", {}, { environment: null }, { environment: ["A=1"] }])
    expect(variablesIn(data)).toBeUndefined();
  expect(variablesIn({ environment: {}, environmentTruncated: true })).toEqual({ list: [], isCut: true });
});

test("hostile names and values are shown as text", () => {
  const variables = variablesIn({
    environment: {
      "<img src=x onerror=alert(1)>": "\u202egnp.exe\u0000",
      A: { toString: 1 },
      LONG: "x".repeat(1e6),
    },
    environmentRest: [7],
    environmentTruncated: true,
  });
  if (!variables) throw new Error("no environment");
  const { container } = render(<VariableList variables={variables} />);
  expect(container.querySelector("img")).toBeNull();
  expect(container.querySelectorAll("[data-hidden]")).toHaveLength(2);
  expect(container.textContent).toContain("<img src=x onerror=alert(1)>=");
  expect(container.textContent).toContain('A={"toString":1}');
  expect(container.textContent).toContain("The agent kept only the beginning");
  expect(container.textContent?.length).toBeLessThan(5000);
});
