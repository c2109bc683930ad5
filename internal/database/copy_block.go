package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"ospulse/internal/models"
)

// blocksAtOnce is the number of objects that a copy reads at once.
const blocksAtOnce = 8

// blockCopy replaces the objects of copied blocks by their data, so that a copy needs no
// bucket.
type blockCopy struct {
	ctx                context.Context
	db                 *DB
	table              *Table
	emit               func(Row) error
	data, object, size int      // the places of the columns
	waiting            [][]byte // rows
}

// newBlockCopy returns false for other tables than that of blocks.
func newBlockCopy(ctx context.Context, db *DB, table *Table, emit func(Row) error) (*blockCopy, bool) {
	place := func(name string) int {
		return slices.IndexFunc(table.Columns, func(c Column) bool { return c.Name == name })
	}
	b := &blockCopy{ctx: ctx, db: db, table: table, emit: emit, data: place("data"), object: place("object"), size: place("object_bytes")}
	return b, table.Name == "blocks"
}

// add emits a row, together with the next ones.
func (b *blockCopy) add(row Row) error {
	b.waiting = append(b.waiting, bytes.Clone(row))
	if len(b.waiting) < blocksAtOnce {
		return nil
	}
	return b.flush()
}

// flush emits the rows that wait.
func (b *blockCopy) flush() error {
	group, ctx := errgroup.WithContext(b.ctx)
	for i := range b.waiting {
		group.Go(func() (err error) {
			b.waiting[i], err = b.whole(ctx, b.waiting[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, row := range b.waiting {
		if err := b.emit(row); err != nil {
			return err
		}
	}
	b.waiting = b.waiting[:0]
	return nil
}

// whole returns a row with its data. The data of a damaged object is empty: a restored
// database reports the damage.
func (b *blockCopy) whole(ctx context.Context, row Row) (Row, error) {
	fields, err := b.table.Fields(row, nil)
	if err != nil {
		return nil, err
	}
	name := string(fields[b.object])
	if name == "" {
		return row, nil
	}
	if b.db.objects == nil {
		return nil, ErrNoObjects
	}
	size, err := b.table.Columns[b.size].Value(fields[b.size])
	if err != nil {
		return nil, err
	}
	n, _ := size.(int64)
	data, err := b.db.objects.Get(ctx, name, n)
	if errors.Is(err, models.ErrDamaged) {
		b.db.log.Warn("a block of sealed events is damaged in the bucket; the copy has it without data", "object", name, "error", err)
		data, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	fields[b.data], fields[b.object], fields[b.size] = append([]byte{}, data...), []byte{}, make([]byte, len(fields[b.size]))
	whole := binary.BigEndian.AppendUint16(nil, uint16(len(fields)))
	for _, field := range fields { // none is NULL in this table
		whole = append(appendSize(whole, len(field)), field...)
	}
	return whole, nil
}
