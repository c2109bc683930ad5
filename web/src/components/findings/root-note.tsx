import { SafeText } from "@/components/safe-text";
import { rootSentence, rootText } from "@/lib/finding";

/** Says that the paths of a finding are not those of the machine. Nothing if they are. */
export function RootNote({ rootPath }: { rootPath: string | null }) {
  if (rootPath === null) return null;
  return (
    <>
      {" "}
      <span title={rootSentence} className="font-sans text-muted">
        <SafeText text={rootText(rootPath)} limit={120} />
      </span>
    </>
  );
}
