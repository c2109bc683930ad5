//go:build linux

package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// If a healthy backend answers a batch with 500 repeatedly, the batch has an event that the
// backend cannot process. Delivery halves the batch until that event is alone. It then sets
// the event aside: it keeps the event in a file and reports it as lost.
//
// Delivery halves a part, or sets it aside, only after it has repeated the part under its
// key. If an earlier attempt had stored the part, the backend would recognise the key and
// not fail.
const (
	brokenTries = 3 // in a row

	// doubtfulTries replaces brokenTries for a part that may be stored, because an earlier
	// attempt got no answer, and for a single event of a batch of which nothing was accepted.
	doubtfulTries = 10

	asideName     = "aside.ndjson"
	maxAsideBytes = 64 << 20
)

// isPoisoned counts a failure of the batch's first part. It reports whether the part itself
// is the cause: the part failed often enough, and the backend is healthy.
func (d *Delivery) isPoisoned(ctx context.Context, b *batch) bool {
	if b.broken == 0 {
		b.brokenSince = time.Now()
	}
	b.broken++
	tries := brokenTries
	if p := b.parts[0]; b.unsure || p.to-p.from == 1 && !b.taken {
		tries = doubtfulTries
	}
	if b.broken < tries {
		return false
	}
	d.mu.Lock()
	contact := d.status.LastContact
	d.mu.Unlock()
	return contact.After(b.brokenSince) || d.client.isReady(ctx)
}

// itemPattern finds the index of an event in the backend's refusal of a batch.
var itemPattern = regexp.MustCompile(`\bevents\[(\d+)\]`) //nolint:gochecknoglobals // a constant

// divide divides the batch's first part around the event that the backend's message names,
// otherwise into halves.
func (d *Delivery) divide(b *batch, said string) {
	p := b.parts[0]
	if named := itemPattern.FindStringSubmatch(said); named != nil {
		index, err := strconv.Atoi(named[1])
		if err == nil && index < p.to-p.from {
			b.cut(p.from+index, p.from+index+1)
			d.remember(b)
			return
		}
	}
	b.cut((p.from + p.to) / 2)
	d.remember(b)
}

// asideLine is a line of the file of events that were set aside.
type asideLine struct {
	At      time.Time       `json:"set_aside_at"`
	Session string          `json:"session_id"`
	Key     string          `json:"idempotency_key"`
	Error   string          `json:"error"`
	Event   json.RawMessage `json:"event"`
}

// setAside appends the single event of part p to the file of events that were set aside. It
// returns an error if the file is full or cannot be written.
func (d *Delivery) setAside(b *batch, p part, said string) error {
	lines, err := d.codec.lines(b)
	if err != nil {
		return err
	}
	text, err := json.Marshal(asideLine{time.Now(), b.session, p.key, said, lines[p.from]})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(d.spool.dir, asideName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size()+int64(len(text)) > maxAsideBytes {
		err = fmt.Errorf("%s is full", file.Name())
	}
	if err == nil {
		_, err = file.Write(append(text, '\n'))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// division is the unsent rest of a divided batch. The next run must repeat these keys,
// because the backend would store the same events again under other keys.
type division struct {
	Key   string
	Parts []struct {
		Key      string
		From, To int
	}
}

const divisionPrefix = "divided-"

// divisionPath returns the path of the file with a batch's division.
func (d *Delivery) divisionPath(b *batch) string {
	sum := sha256.Sum256([]byte(b.key))
	return filepath.Join(d.spool.dir, divisionPrefix+hex.EncodeToString(sum[:16])+".json")
}

// remember writes the division of a divided batch to disk.
func (d *Delivery) remember(b *batch) {
	if !b.divided || !d.useSpool {
		return
	}
	left := division{Key: b.key}
	for _, p := range b.parts {
		left.Parts = append(left.Parts, struct {
			Key      string
			From, To int
		}{p.key, p.from, p.to})
	}
	if err := replaceFile(d.divisionPath(b), left); err != nil {
		d.mu.Lock()
		d.note(err)
		d.mu.Unlock()
		d.log.Warn("cannot record how a batch is divided; the next run may send a part of it twice", "error", err)
	}
}

func replaceFile(path string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// recall restores the division that the previous run wrote for a batch. It returns the
// number of events that the previous run settled, 0 if there is no valid division.
func (d *Delivery) recall(b *batch) (settled int) {
	text, err := os.ReadFile(d.divisionPath(b))
	if err != nil {
		return 0
	}
	var left division
	if json.Unmarshal(text, &left) != nil || left.Key != b.key {
		return 0
	}
	settled = b.count
	parts := []part{}
	for _, p := range left.Parts {
		if p.From < 0 || p.To <= p.From || p.To > b.count {
			return 0
		}
		parts = append(parts, part{p.Key, p.From, p.To})
		settled -= p.To - p.From
	}
	b.parts, b.divided, b.settled = parts, true, settled
	return settled
}

// forget removes the file that remember wrote.
func (d *Delivery) forget(b *batch) {
	if b.divided {
		_ = os.Remove(d.divisionPath(b)) // a file that stays is harmless: no batch has its key
	}
}
