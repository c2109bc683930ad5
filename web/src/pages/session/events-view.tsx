import { EmptyState } from "@/components/ui/state";

export default function EventsView() {
  return <EmptyState title="Events" />;
}
