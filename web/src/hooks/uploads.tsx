import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useMemo, useRef, useState } from "react";
import { useLocation } from "wouter";
import { ApiError, messageOf } from "@/api/client";
import { useStartableAgents } from "@/api/queries";
import { importBundle, uploadTarget } from "@/api/upload";
import { useSettings } from "./settings";

/** An upload that is running or has ended. */
export interface Upload {
  id: number;
  name: string;
  sizeBytes: number;
  /** A copy is a bundle whose session already exists. */
  kind: "target" | "bundle" | "copy";
  state: "sending" | "done" | "failed";
  /** The sent share, from 0 to 1; at 1 the backend stores the file and sends it to the agent. */
  progress: number;
  sessionId?: string;
  sha256?: string;
  /** A warning of the backend, such as that the agent is offline. */
  warning?: string;
  error?: string;
  /** Imports the bundle as a copy; set if the import failed because its session exists. */
  importCopy?: () => void;
}

interface Uploads {
  list: readonly Upload[];
  /** Sends files. After the upload of a single file, it opens the session. */
  send: (files: readonly File[], kind: Upload["kind"]) => void;
  /** Cancels an upload if it runs, and removes it from the list. */
  dismiss: (id: number) => void;
}

const Context = createContext<Uploads | undefined>(undefined);

export function useUploads(): Uploads {
  const uploads = useContext(Context);
  if (!uploads) throw new Error("useUploads must be called within an UploadProvider");
  return uploads;
}

export function UploadProvider({ children }: { children: ReactNode }) {
  const [list, setList] = useState<readonly Upload[]>([]);
  const running = useRef(new Map<number, AbortController>());
  const lastID = useRef(0);
  const queries = useQueryClient();
  const [, navigate] = useLocation();
  const { agent: wanted } = useSettings();
  const agent = useStartableAgents().some(({ id }) => id === wanted) ? wanted : "";

  const dismiss = useCallback((id: number) => {
    running.current.get(id)?.abort();
    setList((now) => now.filter((upload) => upload.id !== id));
  }, []);

  const send = useCallback(
    function send(files: readonly File[], kind: Upload["kind"]) {
      const change = (id: number, part: Partial<Upload>) =>
        setList((now) => now.map((upload) => (upload.id === id ? { ...upload, ...part } : upload)));
      const one = async (id: number, file: File) => {
        const ending = new AbortController();
        running.current.set(id, ending);
        const options = { signal: ending.signal, onProgress: (progress: number) => change(id, { progress }) };
        try {
          const done =
            kind === "target"
              ? await uploadTarget(file, agent, options)
              : await importBundle(file, kind === "copy", options).then((session) => ({
                  sessionId: session.id,
                  sha256: session.file_sha256 ?? undefined,
                  warning: undefined,
                }));
          change(id, {
            state: "done",
            progress: 1,
            sessionId: done.sessionId,
            sha256: done.sha256,
            warning: done.warning,
          });
          void queries.invalidateQueries({ queryKey: ["sessions"] });
          if (files.length === 1) navigate(`/sessions/${encodeURIComponent(done.sessionId)}`);
        } catch (error) {
          if (ending.signal.aborted) return;
          const isHere = kind === "bundle" && error instanceof ApiError && error.code === "conflict";
          change(id, {
            state: "failed",
            error: isHere ? "Its session already exists, or is being deleted." : messageOf(error),
            importCopy: isHere
              ? () => {
                  dismiss(id);
                  send([file], "copy");
                }
              : undefined,
          });
        } finally {
          running.current.delete(id);
        }
      };
      const added = files.map((file) => ({ id: ++lastID.current, file }));
      setList((now) => [
        ...now,
        ...added.map(
          ({ id, file }): Upload => ({
            id,
            name: file.name,
            sizeBytes: file.size,
            kind,
            state: "sending",
            progress: 0,
          }),
        ),
      ]);
      // In sequence: parallel uploads would only share the bandwidth.
      void added.reduce((before, { id, file }) => before.then(() => one(id, file)), Promise.resolve());
    },
    [queries, navigate, dismiss, agent],
  );

  const value = useMemo(() => ({ list, send, dismiss }), [list, send, dismiss]);
  return <Context value={value}>{children}</Context>;
}
