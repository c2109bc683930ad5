import { EmptyState } from "@/components/ui/state";

export default function FilesView() {
  return <EmptyState title="Files" />;
}
