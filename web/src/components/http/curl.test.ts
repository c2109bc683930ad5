import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { curlCommand, shellQuote } from "./curl";

test.each(["plain", "it's", "$(touch /tmp/x)`id`", "a\nb\u001b[31m'", '\\ " !', "caf\u00e9 \u202e", "-o"])(
  "the shell reads %j as it is",
  (text) => {
    const printed = execFileSync("bash", ["-c", `printf %s ${shellQuote(text)}`], { encoding: "utf8" });
    expect(printed).toBe(text);
  },
);

test("a request is a command", () => {
  const headers: [string, string][] = [
    ["X-A", "1'2"],
    ["Content-Length", "3"],
    ["Empty", ""],
  ];
  expect(curlCommand({ method: "POST", url: "http://h/?a=[1]", headers, body: "@x" })).toBe(
    "curl --globoff --url 'http://h/?a=[1]' --request 'POST' --header 'X-A: 1'\\''2' --header 'Empty;' --data-raw '@x'",
  );
  expect(curlCommand({ method: "GET", url: "http://h/", headers: [] })).toBe(
    "curl --globoff --url 'http://h/'",
  );
  expect(curlCommand({ method: "PUT", url: "http://h/", headers: [], body: new Uint8Array([0, 255]) })).toBe(
    "printf %s 'AP8=' | base64 -d | curl --globoff --url 'http://h/' --request 'PUT' --data-binary @-",
  );
});
