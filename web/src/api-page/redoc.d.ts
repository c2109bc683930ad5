/** The URL of Redoc's script, which defines `Redoc`. The build emits it. */
declare module "virtual:redoc" {
  const url: string;
  export default url;
}

declare const Redoc: {
  init(document: object, options: import("redoc").RedocRawOptions, element: HTMLElement): void;
};
