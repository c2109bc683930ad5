/**
 * Gives the drawn rows the keys of their elements. A row below the others reuses the elements of
 * one that left. A row above the others gets new elements: to put reused ones before the others,
 * React would move all of them.
 */
export class RowKeys {
  private keys = new Map<number, number>();
  private next = 0;

  /** The keys of the rows from one index to another, exclusive. */
  of(from: number, to: number): number[] {
    const old = this.keys;
    const free = [...old].filter(([index]) => index < from || index >= to).map(([, key]) => key);
    let mayReuse = free.length === old.size;
    this.keys = new Map();
    for (let index = from; index < to; index++) {
      const kept = old.get(index);
      mayReuse ||= kept !== undefined;
      this.keys.set(index, kept ?? (mayReuse ? free.shift() : undefined) ?? this.next++);
    }
    return [...this.keys.values()];
  }
}
