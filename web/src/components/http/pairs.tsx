import { SafeText } from "@/components/safe-text";

/** Names and values, such as headers. */
export function Pairs({ pairs }: { pairs: readonly (readonly [name: string, value: string])[] }) {
  return (
    <dl className="grid grid-cols-[minmax(6rem,auto)_minmax(0,1fr)] gap-x-3 gap-y-0.5 font-mono text-xs">
      {pairs.map(([name, value], index) => (
        <div key={index} className="contents">
          <dt className="max-w-56 break-all text-muted">
            <SafeText text={name} limit={200} />
          </dt>
          <dd className="break-all">
            <SafeText text={value} limit={4000} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
