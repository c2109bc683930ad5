import { failedSentence, failedText } from "@/lib/finding";

interface Props {
  finding: { events: number; failed_count: number };
}

/** The words before the title of a finding that say whether its events failed. Nothing if none did. */
export function FailedSign({ finding }: Props) {
  const text = failedText(finding);
  if (text === "") return null;
  const look = finding.failed_count === finding.events ? "border-line-strong font-semibold" : "border-line";
  return (
    <>
      <span
        title={failedSentence(finding)}
        className={`inline-block rounded border px-1 text-2xs leading-4 text-ink ${look}`}
      >
        {text}
      </span>{" "}
    </>
  );
}
