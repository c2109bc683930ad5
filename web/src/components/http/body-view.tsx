import { useEffect, useState } from "react";
import { CopyButton } from "@/components/copy-button";
import { DownloadButton } from "@/components/download-button";
import { HexView } from "@/components/hex-view";
import { SafeBlock } from "@/components/safe-block";
import { Button } from "@/components/ui/button";
import { formatBytes } from "@/lib/number";
import { prettyJSON } from "@/lib/pretty-json";
import { type Body, imageType, readForm } from "./body";
import { Pairs } from "./pairs";

type Look = "readable" | "text" | "hex";

/** Shows a body by its type: JSON indented, a form as pairs, an image, else text or hex. */
export function BodyView({ body, name }: { body: Body; name: string }) {
  const image = imageType(body.bytes);
  const form = body.text === undefined ? undefined : readForm(body.text);
  const json = body.text === undefined || form ? undefined : prettyJSON(body.text);
  const looks: Look[] = [];
  if (image || form || json !== undefined) looks.push("readable");
  if (body.text !== undefined) looks.push("text");
  looks.push("hex");
  const [chosen, setChosen] = useState<Look>();
  const look = chosen && looks.includes(chosen) ? chosen : looks[0];
  return (
    <div className="flex flex-col gap-1.5">
      <div className="flex flex-wrap items-center gap-1">
        {looks.map((each) => (
          <Button
            key={each}
            size="small"
            look={each === look ? "plain" : "ghost"}
            aria-pressed={each === look}
            onClick={() => setChosen(each)}
          >
            {{ readable: image ? "Image" : form ? "Form" : "JSON", text: "Text", hex: "Hex" }[each]}
          </Button>
        ))}
        <span className="flex-1 text-right text-xs text-muted">
          {formatBytes(body.size)}
          {body.truncated && `, of which the first ${formatBytes(body.bytes.length)} were kept`}
        </span>
        {body.text !== undefined && <CopyButton text={body.text} label="Copy the body" />}
        <DownloadButton bytes={() => body.bytes} name={name} label="Save the body" />
      </div>
      {look === "hex" && <HexView bytes={body.bytes} className="max-h-96" />}
      {look === "text" && <SafeBlock text={body.text ?? ""} className="max-h-96" />}
      {look === "readable" && image && <Picture bytes={body.bytes} type={image} />}
      {look === "readable" && form && <Pairs pairs={form} />}
      {look === "readable" && json !== undefined && <SafeBlock text={json} className="max-h-96" />}
    </div>
  );
}

/** Draws an image from a blob whose type can only be an image. */
function Picture({ bytes, type }: { bytes: Uint8Array; type: string }) {
  const [url, setURL] = useState<string>();
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([bytes as BlobPart], { type }));
    setURL(made);
    setBroken(false);
    return () => URL.revokeObjectURL(made);
  }, [bytes, type]);
  if (broken) return <p className="text-muted">The image cannot be shown: it is damaged or truncated.</p>;
  return (
    url && (
      <img
        src={url}
        alt="Body of the message"
        onError={() => setBroken(true)}
        className="max-h-96 max-w-full self-start rounded border border-line bg-[repeating-conic-gradient(var(--color-line)_0_25%,transparent_0_50%)] bg-[length:16px_16px] object-contain [image-rendering:pixelated]"
      />
    )
  );
}
