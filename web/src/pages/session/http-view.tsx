import { EmptyState } from "@/components/ui/state";

export default function HttpView() {
  return <EmptyState title="Http" />;
}
