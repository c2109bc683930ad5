export function Timeline(_: { sessionId: string }) {
  return <div className="h-2" />;
}
