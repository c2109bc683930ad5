import redocURL from "virtual:redoc";

// Relative to a file, because a proxy may serve the page under any path.
const documentURL = new URL("../api/openapi.json", redocURL).href;

interface Message {
  event: string;
  description: string;
  schema: object;
}

/**
 * Loads the description of the API. Redoc does not show x-messages, the messages of an
 * event stream, so each message becomes an alternative of the stream's schema.
 */
async function loadDocument(): Promise<object> {
  const answer = await fetch(documentURL);
  if (!answer.ok) throw new Error(`${documentURL} answered ${answer.status}`);
  return JSON.parse(await answer.text(), (_, value: { "x-messages"?: Message[] } | null) => {
    const messages = value?.["x-messages"];
    if (!messages) return value;
    const oneOf = messages.map(({ event, description, schema }) => ({
      title: event,
      description,
      ...schema,
    }));
    return { ...value, schema: { oneOf } };
  });
}

function loadRedoc(): Promise<unknown> {
  const script = document.createElement("script");
  script.src = redocURL;
  document.head.append(script);
  return new Promise((resolve, reject) => {
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${redocURL} did not load`));
  });
}

// The colors stay Redoc's: on dark ones, some of its labels cannot be read.
const fontFamily = "system-ui, sans-serif";
const theme = {
  typography: { fontFamily, headings: { fontFamily }, code: { fontFamily: "ui-monospace, monospace" } },
};

async function show(root: HTMLElement): Promise<void> {
  const [api] = await Promise.all([loadDocument(), loadRedoc()]);
  const options = {
    theme,
    disableSearch: true, // it needs a worker from a blob: URL
    downloadUrls: [{ title: "/api/openapi.json", url: documentURL }],
    nativeScrollbars: true,
    schemaDefinitionsTagName: "Schemas",
  };
  Redoc.init(api, options, root);
}

const root = document.getElementById("root") ?? document.body;
show(root).catch((error: unknown) => {
  root.textContent = `The description of the API cannot be shown: ${error}`;
});
