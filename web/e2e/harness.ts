import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import type { Programs } from "./build";

/** How long a test waits for what must come. A test that passes waits a small part of it, on a busy machine too. */
export const patience = 600_000;

/** Polls until the function returns a value, and returns it. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`timed out: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/**
 * A port on which no program listens. Systems give only higher ports to those that ask for none,
 * so no other program gets it by chance before the test's program listens.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => done(true));
    });
    await new Promise((done) => server.close(done));
    if (isFree) return port;
  }
  throw new Error("there is no free port");
}

/** The running child processes. They end with this process. */
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** The command for a program that the kernel kills when this process ends, even by SIGKILL. */
function mortal(program: string, args: string[]): [string, string[]] {
  return process.platform === "linux"
    ? ["setpriv", ["--pdeathsig", "KILL", program, ...args]]
    : [program, args];
}

/** A listening program and its output. */
export class Service {
  private child: ChildProcess | undefined;
  log = "";

  constructor(
    private readonly program: string,
    private readonly args: string[],
    private readonly env: Record<string, string>,
    private readonly ready: string,
  ) {}

  async start(): Promise<void> {
    // Without the developer's own settings of a backend.
    const { PATH, HOME } = process.env;
    const child = spawn(...mortal(this.program, this.args), {
      env: { PATH, HOME, ...this.env },
      cwd: tmpdir(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.add(child);
    child.once("exit", () => children.delete(child));
    const keep = (chunk: Buffer) => {
      this.log = (this.log + chunk.toString()).slice(-100_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    this.child = child;
    await until(`${this.program} listens:\n${this.log}`, async () => {
      if (child.exitCode !== null) throw new Error(`${this.program} ended:\n${this.log}`);
      const answer = await fetch(this.ready).catch(() => undefined);
      return answer?.ok;
    });
  }

  /** Sends a signal, and waits for the exit. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), patience);
    await ended;
    clearTimeout(late);
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }
}

/** The answer to a batch of events. */
interface BatchAnswer {
  accepted: number;
  errors?: unknown[];
}

/** An event as agents post it. */
export interface PostedEvent {
  event_type: string;
  timestamp: string;
  source: string;
  data: unknown;
}

/** The backend of a test and, on request, an agent. */
export class Backend {
  private agent: Service | undefined;

  private constructor(
    readonly url: string,
    private readonly programs: Programs,
    private readonly service: Service,
    private readonly agentPort: number,
    private readonly folder: string,
  ) {}

  /** Starts a backend with settings besides those of all tests, which may depend on its URL. */
  static async start(
    programs: Programs,
    settings: (url: string) => Record<string, string> = () => ({}),
  ): Promise<Backend> {
    const folder = await mkdtemp(join(tmpdir(), "ospulse-e2e-"));
    const [port, agentPort] = [await freePort(), await freePort()];
    const url = `http://127.0.0.1:${port}`;
    const service = new Service(
      programs.backend,
      [],
      {
        PORT: String(port),
        DATA_DIR: join(folder, "data"),
        MIN_FREE_MB: "0",
        AGENT_SERVICE_URL: `http://127.0.0.1:${agentPort}`,
        AGENT_POLL_INTERVAL: "1s",
        COMMIT_TIMEOUT: "10m",
        READ_TIMEOUT: "10m", // the machine may be busy
        ...settings(url),
      },
      `${url}/healthz`, // which needs no key
    );
    const backend = new Backend(url, programs, service, agentPort, folder);
    await service.start();
    return backend;
  }

  /** Starts the agent for Linux, and waits until the backend reports it as up. */
  async startAgent(): Promise<void> {
    const agentURL = `http://127.0.0.1:${this.agentPort}`;
    this.agent = new Service(
      this.programs.agent,
      ["--backend", this.url, "--port", String(this.agentPort), "--data", join(this.folder, "agent")],
      {},
      `${agentURL}/health`,
    );
    await this.agent.start();
    await until("the backend knows of the agent", async () => {
      const health = await this.get<{ agent?: { status: string } }>("/api/health");
      return health.agent?.status === "up";
    });
  }

  /** Kills the agent, like a crash. */
  killAgent = () => this.agent?.end("SIGKILL");
  /** Kills the backend, like a crash. */
  kill = () => this.service.end("SIGKILL");
  /** Starts the backend again, on the same port and with the same data. */
  restart = () => this.service.start();

  get pid(): number {
    return this.service.pid;
  }

  async remove(): Promise<void> {
    await this.agent?.end("SIGTERM");
    await this.service.end("SIGTERM");
    await rm(this.folder, { recursive: true, force: true });
  }

  async get<T>(path: string): Promise<T> {
    return this.answer(await fetch(this.url + path));
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return this.answer(
      await fetch(this.url + path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: text,
      }),
    );
  }

  private async answer<T>(response: Response): Promise<T> {
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${response.url}: ${text.slice(0, 500)}`);
    return JSON.parse(text) as T;
  }

  /** Uploads a file, and returns its session. */
  async createSession(fileName: string, content: string): Promise<string> {
    const form = new FormData();
    form.append("file", new Blob([content]), fileName);
    const response = await fetch(`${this.url}/api/create-session`, { method: "POST", body: form });
    return (await this.answer<{ sessionId: string }>(response)).sessionId;
  }

  /** Stores events in a session. The backend must accept all of them. */
  async postEvents(sessionId: string, events: readonly PostedEvent[]): Promise<void> {
    for (let i = 0; i < events.length; i += 5000) {
      const path = `/api/events/batch?sessionId=${encodeURIComponent(sessionId)}`;
      const { errors } = await this.post<BatchAnswer>(path, events.slice(i, i + 5000));
      if (errors?.length) throw new Error(`events are refused: ${JSON.stringify(errors).slice(0, 500)}`);
    }
  }
}

/** The browsers that can be used, the one that takes least of the processor first. */
const browsers = ["chromium-headless-shell", "chromium", "google-chrome"];

function findBrowser(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return browsers
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((path) => existsSync(path));
}

/** Launches the first of browsers that is installed, or the one that CHROMIUM names. */
export function launchBrowser(args: string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? findBrowser(),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      ...args,
    ],
  });
}
