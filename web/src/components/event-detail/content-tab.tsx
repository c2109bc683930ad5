import { ChevronDown, ChevronUp, Download } from "lucide-react";
import { useDeferredValue, useMemo, useState } from "react";
import type { EventText } from "@/api/event";
import { download } from "@/components/download-button";
import { HexView } from "@/components/hex-view";
import { Button } from "@/components/ui/button";
import { EmptyState } from "@/components/ui/state";
import { formatBytes, formatCount } from "@/lib/number";
import { plainText } from "@/lib/text";
import { findBytes, wantedBytes } from "./byte-search";
import { bytesOf, contentsOf } from "./contents";
import { TextView } from "./text-view";

/** The transferred bytes of an event as hex and as text, with search. */
export function ContentTab({ event }: { event: EventText }) {
  const contents = useMemo(() => (event.data ? contentsOf(event.text, event.data) : []), [event]);
  const [label, setLabel] = useState<string>();
  const [looksText, setLooksText] = useState<boolean>();
  const chosen = contents.find((content) => content.label === label) ?? contents[0];
  const bytes = useMemo(() => (chosen ? bytesOf(event.text, chosen) : new Uint8Array()), [event, chosen]);
  const asText = looksText ?? chosen?.encoding === "text";
  const search = useByteSearch(bytes);
  if (!chosen)
    return <EmptyState title="This event has no content">It contains no text and no bytes.</EmptyState>;
  return (
    <div className="flex min-h-0 flex-1 flex-col gap-2 p-3">
      <div className="flex flex-wrap items-center gap-2 text-xs">
        <select
          aria-label="Content"
          // The value is the index: a name may contain hidden characters, which must not be in an attribute.
          value={contents.indexOf(chosen)}
          onChange={(change) => setLabel(contents[Number(change.target.value)]?.label)}
          className="h-7 max-w-60 min-w-0 flex-1 rounded-md border border-line bg-surface px-1.5"
        >
          {contents.map((content, index) => (
            <option key={content.label} value={index}>
              {plainText(content.label, 80)}
            </option>
          ))}
        </select>
        <span className="text-muted tabular-nums">{formatBytes(bytes.length)}</span>
        <fieldset className="flex" aria-label="Show as">
          {(["Hex", "Text"] as const).map((name) => (
            <Button
              key={name}
              size="small"
              aria-pressed={asText === (name === "Text")}
              className={`first-of-type:rounded-r-none last-of-type:-ml-px last-of-type:rounded-l-none ${asText === (name === "Text") ? "bg-selected! text-accent!" : ""}`}
              onClick={() => setLooksText(name === "Text")}
            >
              {name}
            </Button>
          ))}
        </fieldset>
        <Button
          look="ghost"
          size="smallIcon"
          aria-label="Download these bytes"
          title="Download these bytes"
          onClick={() => download(`event-${event.fields.seq}-content.bin`, bytes.slice())}
        >
          <Download size={14} />
        </Button>
      </div>
      <SearchBar search={search} />
      {asText ? (
        <TextView bytes={bytes} marked={search.marked} />
      ) : (
        <HexView bytes={bytes} marked={search.marked} className="min-h-0 flex-1" />
      )}
    </div>
  );
}

function useByteSearch(bytes: Uint8Array) {
  const [text, setText] = useState("");
  const [isHex, setIsHex] = useState(false);
  const [at, setAt] = useState(0);
  const wantedText = useDeferredValue(text);
  const { wanted, places, hasMore } = useMemo(() => {
    const wanted = wantedBytes(wantedText, isHex);
    return { wanted, ...(wanted ? findBytes(bytes, wanted, !isHex) : { places: [], hasMore: false }) };
  }, [bytes, wantedText, isHex]);
  const current = places.length === 0 ? 0 : ((at % places.length) + places.length) % places.length;
  const place = places[current];
  const marked = useMemo(
    () => (place === undefined ? undefined : { from: place, to: place + (wanted?.length ?? 0) }),
    [place, wanted],
  );
  const set = (change: { text?: string; isHex?: boolean }) => {
    setAt(0);
    if (change.text !== undefined) setText(change.text);
    if (change.isHex !== undefined) setIsHex(change.isHex);
  };
  return { text, isHex, isFault: wanted === undefined, places, hasMore, current, place, marked, set, setAt };
}

function SearchBar({ search }: { search: ReturnType<typeof useByteSearch> }) {
  const { text, isHex, isFault, places, hasMore, current, place, set, setAt } = search;
  const status = isFault
    ? "Not valid hex"
    : text === ""
      ? ""
      : places.length === 0
        ? "Not found"
        : `${formatCount(current + 1)} of ${formatCount(places.length)}${hasMore ? "+" : ""}, at ${(place ?? 0).toString(16)}`;
  return (
    <search className="flex flex-wrap items-center gap-1 text-xs">
      <input
        aria-label="Search in the content"
        placeholder={isHex ? "Bytes, as 4d 5a 90" : "Search in the content"}
        value={text}
        onChange={(event) => set({ text: event.target.value })}
        onKeyDown={(event) => {
          if (event.key === "Enter") setAt(current + (event.shiftKey ? -1 : 1));
        }}
        className="h-7 min-w-24 flex-1 rounded-md border border-line bg-surface px-2 font-mono"
      />
      <label className="flex items-center gap-1 px-1">
        <input
          type="checkbox"
          checked={isHex}
          onChange={(event) => set({ isHex: event.target.checked })}
          className="accent-accent"
        />
        hex
      </label>
      <Button
        look="ghost"
        size="smallIcon"
        aria-label="Previous match"
        disabled={places.length === 0}
        onClick={() => setAt(current - 1)}
      >
        <ChevronUp size={14} />
      </Button>
      <Button
        look="ghost"
        size="smallIcon"
        aria-label="Next match"
        disabled={places.length === 0}
        onClick={() => setAt(current + 1)}
      >
        <ChevronDown size={14} />
      </Button>
      <span
        role="status"
        className={`w-full tabular-nums empty:hidden ${isFault ? "text-warn" : "text-muted"}`}
      >
        {status}
      </span>
    </search>
  );
}
