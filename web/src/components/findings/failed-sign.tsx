import { failedSentence, failedText } from "@/lib/finding";

interface Props {
  finding: { events: number; failed_count: number };
}

/** The words before the title of a finding that say whether its events failed. Nothing if none did. */
export function FailedSign({ finding }: Props) {
  const text = failedText(finding);
  if (text === "") return null;
  return (
    <>
      <span
        title={failedSentence(finding)}
        className="inline-block rounded border border-line-strong px-1 align-[1px] text-2xs leading-[14px] font-normal text-ink"
      >
        {text}
      </span>{" "}
    </>
  );
}
