// Browsers cap the height of an element, at some 16 to 33 million pixels.
const maxHeight = 8_000_000;
// This many pixels at both ends scroll one to one, so that a wheel reaches the very first row.
const edge = 20_000;

/**
 * Scrolls through rows whose total height exceeds the limit of browsers. A short step of
 * the scroller moves the rows by the same number of pixels; a long step, such as a drag of
 * the scroll bar, moves them in proportion to the whole. After short steps the scroller's
 * position drifts from the proportional one; settle corrects it.
 */
export class LongScroll {
  /** The height of all rows above the viewport, in pixels. */
  position = 0;
  /** The offset from a row's position among all rows to its position in the scroller. */
  base = 0;
  /** The height in which rows are visible, in pixels. */
  viewport = 0;
  private top = 0; // scrollTop of the scroller
  private rows = 0;

  constructor(readonly rowHeight: number) {}

  /** The height of the scrolled content. */
  get height(): number {
    return Math.min(this.rows * this.rowHeight, maxHeight);
  }

  /** The position at which the last row is at the bottom of the viewport. */
  get end(): number {
    return Math.max(0, this.rows * this.rowHeight - this.viewport);
  }

  /** The number of whole visible rows. */
  get pageRows(): number {
    return Math.max(1, Math.floor(this.viewport / this.rowHeight));
  }

  /** The visible rows, to exclusive, extended by a number of rows on both sides. */
  range(around = 0): { from: number; to: number } {
    const from = Math.floor(this.position / this.rowHeight);
    const to = Math.ceil((this.position + this.viewport) / this.rowHeight);
    return { from: Math.max(0, from - around), to: Math.min(this.rows, to + around) };
  }

  /** Sets the sizes, and returns the scrollTop that keeps the position. */
  resize(rows: number, viewport: number): number {
    if (rows === this.rows && viewport === this.viewport) return this.top;
    this.rows = rows;
    this.viewport = viewport;
    return this.moveTo(this.position);
  }

  /** Handles a scroll of the scroller. Returns the scrollTop to set instead, if any. */
  scrolled(top: number): number | undefined {
    const step = top - this.top;
    this.top = top;
    if (!this.isScaled) {
      this.position = top;
    } else if (Math.abs(step) > 3 * this.viewport) {
      this.position = this.clamp(mapped(top, this.topEnd, this.end));
    } else {
      this.position = this.clamp(this.position + step);
      const isStuck = (top <= 0 && this.position > 0) || (top >= this.topEnd && this.position < this.end);
      if (isStuck) return this.settle();
    }
    this.base = this.top - this.position;
    return undefined;
  }

  /** Records the actual scrollTop after it was set; a browser clamps it. */
  placed(top: number): void {
    this.top = top;
    if (!this.isScaled) this.position = top;
    this.base = top - this.position;
  }

  /** Moves to a position, and returns the scrollTop to set. */
  moveTo(position: number): number {
    this.position = this.clamp(position);
    return this.settle();
  }

  /** Moves as little as needed to make a row visible; returns undefined if it is visible. */
  reveal(row: number, align: "nearest" | "middle" = "nearest"): number | undefined {
    const top = row * this.rowHeight;
    const bottom = top + this.rowHeight;
    if (align === "middle") {
      if (top >= this.position && bottom <= this.position + this.viewport) return undefined;
      return this.moveTo(top - (this.viewport - this.rowHeight) / 2);
    }
    if (top < this.position) return this.moveTo(top);
    if (bottom > this.position + this.viewport) return this.moveTo(bottom - this.viewport);
    return undefined;
  }

  /** The scrollTop that is proportional to the position. */
  settle(): number {
    this.top = this.isScaled ? Math.round(mapped(this.position, this.end, this.topEnd)) : this.position;
    this.base = this.top - this.position;
    return this.top;
  }

  private get isScaled(): boolean {
    return this.rows * this.rowHeight > maxHeight;
  }

  private get topEnd(): number {
    return Math.max(0, this.height - this.viewport);
  }

  private clamp(position: number): number {
    return Math.max(0, Math.min(position, this.end));
  }
}

/** Maps a position from one length to another: unchanged near the ends, proportional between them. */
function mapped(place: number, length: number, onto: number): number {
  if (place <= edge) return place;
  if (place >= length - edge) return onto - (length - place);
  return edge + ((place - edge) / (length - 2 * edge)) * (onto - 2 * edge);
}
