import { Component, type ReactNode } from "react";
import { ErrorState } from "./ui/state";

/** Catches errors of a view, so that the rest of the page works. Shows the error and a button to retry. */
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
