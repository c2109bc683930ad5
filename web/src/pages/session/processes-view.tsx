import { EmptyState } from "@/components/ui/state";

export default function ProcessesView() {
  return <EmptyState title="Processes" />;
}
