import { EmptyState } from "@/components/ui/state";

export default function NetworkView() {
  return <EmptyState title="Network" />;
}
