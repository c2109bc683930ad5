import type { EventFeed, FeedState } from "@/api/event-feed";
import type { Column } from "./columns";
import type { ColumnState } from "./columns-provider";

/** The props of EventTable, shared with its keyboard and scroll hooks. */
export interface EventTableProps {
  feed: EventFeed;
  state: FeedState;
  columns: readonly Column[];
  columnState: ColumnState;
  isNarrow: boolean;
  /** Whether the table keeps the last row in sight. */
  isFollowing: boolean;
  canFollow: boolean;
  follow: (isFollowing: boolean) => void;
  /** The event whose details are open. */
  openSeq: number | undefined;
  open: (seq: number | undefined) => void;
}
