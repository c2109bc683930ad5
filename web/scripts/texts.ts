import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import ts from "typescript";

/** A text that the dashboard shows, with … where it inserts a value. */
export interface Text {
  file: string;
  line: number;
  text: string;
}

// Attributes and members whose strings are never shown.
const hidden =
  /^(class(Name)?|id|key|type|role|look|size|href|name|data-|transform|fill|d$|style|rel|target|path)/;

/** All texts that the dashboard can show, by file and line. */
export function texts(): Text[] {
  const files = readdirSync("src", { recursive: true, encoding: "utf8" }).map((file) => `src/${file}`);
  const shown = files.filter((file) => /\.tsx?$/.test(file) && !/\.(test|d)\.tsx?$/.test(file));
  return shown.sort().flatMap((file) => textsOf(file, readFileSync(file, "utf8")));
}

/** The texts of one file: those of JSX, and strings that are sentences. */
export function textsOf(file: string, code: string): Text[] {
  const source = ts.createSourceFile(file, code, ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX);
  const found: Text[] = [];
  const add = (node: ts.Node, text: string, isShown: boolean) => {
    const shown = text.replace(/\s+/g, " ").trim();
    if (!/[A-Za-z]{2}/.test(shown) || !(isShown || isSentence(shown))) return;
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    found.push({ file, line: line + 1, text: shown });
  };
  const visit = (node: ts.Node, isShown: boolean): void => {
    if (ts.isImportDeclaration(node) || ts.isTypeNode(node) || ts.isThrowStatement(node)) return;
    if (ts.isJsxElement(node) || ts.isJsxFragment(node)) {
      add(node, childrenText(node.children), true);
      for (const child of node.children) if (!ts.isJsxText(child)) visit(child, true);
      if (ts.isJsxElement(node)) visit(node.openingElement.attributes, false);
    } else if (ts.isJsxAttribute(node)) {
      if (!hidden.test(node.name.getText(source))) ts.forEachChild(node, (child) => visit(child, true));
    } else if (ts.isPropertyAssignment(node) && hidden.test(node.name.getText(source))) {
      return;
    } else if (ts.isStringLiteralLike(node)) {
      add(
        node,
        node.text,
        isShown && /^[A-Z(“]|[a-z] [a-z]/.test(node.text) && !/^[a-z-]+:|-\[/.test(node.text),
      );
    } else if (ts.isTemplateExpression(node)) {
      add(node, node.head.text + node.templateSpans.map((span) => `…${span.literal.text}`).join(""), isShown);
      for (const span of node.templateSpans) visit(span.expression, false);
    } else ts.forEachChild(node, (child) => visit(child, isShown && !ts.isCallExpression(node)));
  };
  visit(source, false);
  return found;
}

/** The text of the children of an element. Elements and expressions are an ellipsis, constants their text. */
function childrenText(children: readonly ts.JsxChild[]): string {
  const parts = children.map((child) => {
    if (ts.isJsxText(child)) return child.text;
    if (!ts.isJsxExpression(child)) return "…";
    if (!child.expression) return "";
    return ts.isStringLiteralLike(child.expression) ? child.expression.text : "…";
  });
  return children.some((child) => ts.isJsxText(child) && /[A-Za-z]/.test(child.text)) ? parts.join("") : "";
}

function isSentence(text: string): boolean {
  return /^[A-Z][a-z]+ [A-Za-z…]|^…? ?[a-z]+( [a-z…]+){3,}[.?!]?$/.test(text);
}

export const listFile = "texts.txt";

/** All texts in one list, by file, each once in a file. */
export function list(): string {
  const byFile = new Map<string, Set<string>>();
  for (const { file, text } of texts()) byFile.set(file, (byFile.get(file) ?? new Set()).add(text));
  return [...byFile].map(([file, shown]) => `${[`${file}:`, ...shown].join("\n  ")}\n`).join("\n");
}

/** Writes the list of all texts, in which they are reviewed together. */
export function main(): number {
  writeFileSync(listFile, list());
  return 0;
}
