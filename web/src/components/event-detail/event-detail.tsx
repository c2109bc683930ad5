export default function EventDetail({ seq }: { sessionId: string; seq: number }) {
  return <aside>{seq}</aside>;
}
