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

// A batch that the backend answers with 500 again and again, while the backend is
// well, has an event that the backend chokes on. It is halved until that event is
// alone. The event is then set aside: kept in a file, and reported as lost.
//
// A part is halved or set aside only after it was repeated under its key: had an
// earlier try stored it, the backend would know the key and not fail.
const (
	brokenTries = 3 // in a row

	// The same for a part of which an earlier try had no answer, so that it may be
	// stored, and for a single event when nothing of its batch was taken.
	doubtfulTries = 10

	asideName     = "aside.ndjson"
	maxAsideBytes = 64 << 20
)

// isPoisoned counts one more failure of the batch's first part, and reports whether
// the part itself is at fault: it failed often enough, and the backend is well.
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

// divide divides the batch's first part: around the event that the backend names in
// what it said, else into halves.
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

// asideLine is an event that was set aside, as a line of its file has it.
type asideLine struct {
	At      time.Time       `json:"set_aside_at"`
	Session string          `json:"session_id"`
	Key     string          `json:"idempotency_key"`
	Error   string          `json:"error"`
	Event   json.RawMessage `json:"event"`
}

// setAside appends the event to the file of those that were set aside.
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

// division is what is left to be sent of a batch that was divided. The next run needs
// it: under another key the backend would store again what it has.
type division struct {
	Key   string
	Parts []struct {
		Key      string
		From, To int
	}
}

const divisionPrefix = "divided-"

// divisionPath is the file of a batch's division.
func (d *Delivery) divisionPath(b *batch) string {
	sum := sha256.Sum256([]byte(b.key))
	return filepath.Join(d.spool.dir, divisionPrefix+hex.EncodeToString(sum[:16])+".json")
}

// remember writes down what is left of a batch that was divided.
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
		d.log.Warn("how a batch is divided cannot be written down; the next run may send a part of it twice", "error", err)
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

// recall finds how the run before divided a batch, and gives how many of its events
// that run has settled.
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

// forget removes what remember wrote.
func (d *Delivery) forget(b *batch) {
	if b.divided {
		_ = os.Remove(d.divisionPath(b)) // one that stays is of no batch any more
	}
}
