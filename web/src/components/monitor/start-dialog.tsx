import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Play, TriangleAlert } from "lucide-react";
import { useRef, useState } from "react";
import { ApiError, messageOf, type Session } from "@/api/client";
import { keys, useStartableAgents, useStartOptions } from "@/api/queries";
import { startMonitoring } from "@/api/start";
import { AgentSelect } from "@/components/agents/agent-select";
import { SafeText } from "@/components/safe-text";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Field, Input } from "@/components/ui/field";
import { byId, focusIds } from "@/hooks/focus";
import { splitWords } from "@/lib/words";
import { LimitFields } from "./limit-fields";
import { ProcessPicker } from "./process-picker";
import { noSelection, SelectionFields, selectionOf } from "./selection-fields";
import { type Draft, limitsOf } from "./start-limits";

type Mode = 1 | 2 | 3;

const modes: { mode: Mode; title: string; text: string }[] = [
  {
    mode: 3,
    title: "The uploaded file",
    text: "The agent runs it in a sandbox, and monitors it and its descendants.",
  },
  {
    mode: 2,
    title: "Chosen processes",
    text: "Processes that run on the agent's machine, and their descendants.",
  },
  { mode: 1, title: "All processes", text: "Everything on the agent's machine. Expect many events." },
];

/** Lets the reader choose what the agent monitors, and starts the monitoring. */
export function StartDialog({ session, onClose }: { session: Session; onClose: () => void }) {
  const hasFile = session.file_sha256 !== null;
  const [mode, setMode] = useState<Mode>(() => firstMode(session));
  const [pids, setPIDs] = useState<ReadonlySet<number>>(() => new Set(session.chosen_pids));
  const [commandLine, setCommandLine] = useState("");
  const [entryPoint, setEntryPoint] = useState("");
  const [selection, setSelection] = useState(noSelection);
  const [limits, setLimits] = useState<Draft>({});
  const [agentId, setAgentId] = useState(session.agent_id ?? "default");
  const options = useStartOptions(agentId);
  const limited = options ? limitsOf(limits, options) : {};
  const words = splitWords(commandLine);
  const agents = useStartableAgents();
  const agent = agents.find(({ id }) => id === agentId);
  const queries = useQueryClient();
  const hasStarted = useRef(false);
  const start = useMutation({
    mutationFn: () =>
      startMonitoring({
        sessionId: session.id,
        mode,
        ...(agentId !== session.agent_id && { agent: agentId }),
        ...(mode === 2 && { processes: [...pids] }),
        ...(mode === 3 && words && words.length > 0 && { arguments: words }),
        ...(mode === 3 && limited),
        ...selectionOf(selection),
        ...(mode === 3 && entryPoint.trim() !== "" && { entryPoint: entryPoint.trim() }),
      }),
    onSuccess: () => {
      hasStarted.current = true;
      void queries.invalidateQueries({ queryKey: keys.session(session.id), exact: true });
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      onClose();
    },
  });
  // The file may be an archive whose name does not say so, or a text file that must be named.
  const cannotRun = start.error instanceof ApiError && start.error.code === "cannot_run";
  return (
    <Dialog
      open
      onClose={onClose}
      title="Start monitoring"
      focusAfter={() => (hasStarted.current ? byId(focusIds.view) : null)}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            look="primary"
            disabled={
              (mode === 2 && pids.size === 0) ||
              (mode === 3 && (words === undefined || limited === undefined))
            }
            // A disabled button would lose the focus.
            aria-disabled={start.isPending}
            className={start.isPending ? "opacity-50" : ""}
            onClick={() => start.isPending || start.mutate()}
          >
            <Play size={14} aria-hidden />
            {start.isPending ? "Starting…" : "Start"}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-3">
        {agent?.status === "down" && (
          <p className="flex gap-2 rounded-md bg-warn-soft px-3 py-2 text-warn">
            <TriangleAlert size={16} className="mt-0.5 shrink-0" aria-hidden />
            <span>
              The agent <SafeText text={agent.name} limit={80} /> is offline
              {agent.last_error && (
                <>
                  : <SafeText text={agent.last_error} />
                </>
              )}
              . Start it on the machine to be watched, then try again.
            </span>
          </p>
        )}
        {agents.length > 1 && (
          <Field label="Agent" hint="The machine to be watched.">
            <AgentSelect
              value={agentId}
              onChange={(id) => {
                setAgentId(id);
                setPIDs(new Set()); // the pids of another machine mean nothing
              }}
            />
          </Field>
        )}
        <div role="radiogroup" aria-label="What to monitor" className="flex flex-col gap-2">
          {modes.map((choice) => (
            <label
              key={choice.mode}
              className={`flex gap-3 rounded-md border p-3 ${mode === choice.mode ? "border-accent bg-selected" : "border-line"} ${choice.mode === 3 && !hasFile ? "opacity-50" : "cursor-pointer"}`}
            >
              <input
                type="radio"
                name="mode"
                checked={mode === choice.mode}
                disabled={choice.mode === 3 && !hasFile}
                onChange={() => setMode(choice.mode)}
                className="mt-0.5 accent-(--color-accent)"
              />
              <span className="min-w-0">
                <span className="block font-medium">
                  {choice.title}
                  {choice.mode === 3 && hasFile && (
                    <>
                      : <SafeText text={session.file_name} limit={120} className="break-all" />
                    </>
                  )}
                </span>
                <span className="block text-xs text-muted">
                  {choice.mode === 3 && !hasFile ? "This session has no file." : choice.text}
                </span>
              </span>
            </label>
          ))}
        </div>
        {mode === 3 && (isArchive(session.file_name) || cannotRun) && (
          <Field
            label="What to run in the archive"
            hint="The path in the archive. Leave it empty if only one file can be run. If there are several, the agent refuses and lists them."
          >
            <Input
              value={entryPoint}
              placeholder="bin/setup.sh"
              onChange={(event) => setEntryPoint(event.target.value)}
            />
          </Field>
        )}
        {mode === 3 && (
          <Field
            label="Arguments"
            hint={
              words === undefined ? "A quote is not closed." : "Quoted as in a shell; nothing is expanded."
            }
          >
            <Input
              value={commandLine}
              aria-invalid={words === undefined}
              onChange={(event) => setCommandLine(event.target.value)}
              className="font-mono"
            />
          </Field>
        )}
        {mode === 3 && <LimitFields options={options} draft={limits} onChange={setLimits} />}
        {mode === 2 && (
          <ProcessPicker sessionId={session.id} agentId={agentId} chosen={pids} onChange={setPIDs} />
        )}
        <SelectionFields classes={agent?.event_classes ?? []} draft={selection} onChange={setSelection} />
        {start.isError && (
          <p role="alert" className="break-words text-bad">
            {messageOf(start.error)}
          </p>
        )}
      </div>
    </Dialog>
  );
}

/** Whether the name is that of an archive that our agent unpacks. */
function isArchive(fileName: string): boolean {
  return /\.(zip|jar|tar|tgz|tbz2?|tzst|tar\.(gz|bz2|zst))$/i.test(fileName);
}

/** The mode of the last start, else the file if there is one. */
function firstMode(session: Session): Mode {
  if (session.mode !== 0) return session.mode;
  return session.file_sha256 === null ? 1 : 3;
}
