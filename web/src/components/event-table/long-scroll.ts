// Browsers cap the height of an element, at some 16 to 33 million pixels.
const maxHeight = 8_000_000;
// So many pixels at both ends are scrolled as they are: a wheel must reach the very first row.
const edge = 20_000;

/**
 * Scrolls through rows whose height together is more than a browser can hold. A short
 * step of the scroller moves the rows by the same pixels; a long one, as when its bar
 * is dragged, by its part of the whole. Between the two, the scroller's own position
 * drifts from the part of the whole that it should show; settle puts that right.
 */
export class LongScroll {
  /** The pixels above the first one in sight, of all rows. */
  position = 0;
  /** What to add to the place of a row among all rows, for its place in the scroller. */
  base = 0;
  private top = 0; // of the scroller
  private rows = 0;
  private viewport = 0;

  constructor(readonly rowHeight: number) {}

  /** The height of what is scrolled. */
  get height(): number {
    return Math.min(this.rows * this.rowHeight, maxHeight);
  }

  /** Where the last row ends at the bottom of the viewport. */
  get end(): number {
    return Math.max(0, this.rows * this.rowHeight - this.viewport);
  }

  /** How many whole rows are in sight. */
  get pageRows(): number {
    return Math.max(1, Math.floor(this.viewport / this.rowHeight));
  }

  /** The rows in sight, the last one exclusive, with so many around them. */
  range(around = 0): { from: number; to: number } {
    const from = Math.floor(this.position / this.rowHeight);
    const to = Math.ceil((this.position + this.viewport) / this.rowHeight);
    return { from: Math.max(0, from - around), to: Math.min(this.rows, to + around) };
  }

  /** Takes the sizes, and gives where the scroller must stand for the position to stay. */
  resize(rows: number, viewport: number): number {
    if (rows === this.rows && viewport === this.viewport) return this.top;
    this.rows = rows;
    this.viewport = viewport;
    return this.moveTo(this.position);
  }

  /** The scroller was scrolled; gives where it must be put instead, if anywhere. */
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

  /** The scroller was put somewhere, and stands here: a browser lets it not go beyond what it holds. */
  placed(top: number): void {
    this.top = top;
    if (!this.isScaled) this.position = top;
    this.base = top - this.position;
  }

  /** Goes to a position; gives where the scroller must stand. */
  moveTo(position: number): number {
    this.position = this.clamp(position);
    return this.settle();
  }

  /** Goes as little as needed for a row to be in sight; undefined when it is. */
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

  /** Where the scroller must stand for its part of the whole to be that of the position. */
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

/** A place on a line of one length, on a line of another: the same near the ends, its part between them. */
function mapped(place: number, length: number, onto: number): number {
  if (place <= edge) return place;
  if (place >= length - edge) return onto - (length - place);
  return edge + ((place - edge) / (length - 2 * edge)) * (onto - 2 * edge);
}
