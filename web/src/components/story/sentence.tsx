import type { components } from "@/api/schema";
import { SafeText } from "@/components/safe-text";
import { formatBytes, formatCount } from "@/lib/number";

type Step = Pick<components["schemas"]["StoryStep"], "parts">;

/** The sentence of a step. Values of the events are drawn as values. */
export function Sentence({ step, home }: { step: Step; home: string }) {
  return step.parts.map(({ text, as }, at) => {
    switch (as) {
      case "":
        return <span key={at}>{text}</span>;
      case "program":
        return <SafeText key={at} text={text || "an unknown program"} limit={60} className="font-semibold" />;
      case "bytes":
        return (
          <span key={at} className="whitespace-nowrap">
            {formatBytes(Number(text))}
          </span>
        );
      case "count":
        return <span key={at}>{formatCount(Number(text))}</span>;
      case "command":
        return (
          <SafeText
            key={at}
            text={home.length > 1 ? text.replaceAll(`${home}/`, "~/") : text}
            limit={160}
            className="font-mono text-[0.93em]"
          />
        );
      case "result":
        return <SafeText key={at} text={text} limit={100} />;
      default:
        return (
          <SafeText key={at} text={atHome(text, home)} limit={160} className="font-mono text-[0.93em]" />
        );
    }
  });
}

/** A path with ~ for the home folder. */
export function atHome(path: string, home: string): string {
  return home.length > 1 && path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
}
