import { Component, type ReactNode } from "react";
import { ErrorState } from "./ui/state";

/** Keeps a fault in one view from taking the page down: says so, and lets the reader try again. */
export class CatchErrors extends Component<{ children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <ErrorState error={this.state.error} retry={() => this.setState({ error: undefined })} />;
  }
}
