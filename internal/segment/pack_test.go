package segment_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/segment"
	"ospulse/internal/wire"
	"ospulse/test/odd"
	"ospulse/test/recording"
)

// received returns an event as the backend stores it.
func received(t interface{ Fatalf(string, ...any) }, body string, seq int64) models.Event {
	in, err := wire.Event([]byte(body), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	e := in.Event
	e.Seq = seq
	if len(e.Data) == 0 {
		e.Data = models.JSON("null")
	}
	return e
}

// anyWholeEvent draws an event with all its fields.
func anyWholeEvent(t *rapid.T, seq int64) models.Event {
	e := received(t, odd.Event(t), seq)
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", `"2026-11-22T12:00:00Z"`, string(e.Data), "=x"}), rapid.String())
	micros := rapid.OneOf(rapid.Int64Range(0, 1e15), rapid.SampledFrom([]int64{0, -1, 1 << 52, -1 << 52}))
	e.ID = rapid.Uint64Range(0, 1<<63-1).Draw(t, "id")
	e.CreatedAt, e.UpdatedAt = time.UnixMicro(micros.Draw(t, "created")).UTC(), time.UnixMicro(micros.Draw(t, "updated")).UTC()
	if other, err := json.Marshal(json.RawMessage(e.Data)); err == nil && rapid.Bool().Draw(t, "other order") {
		var value any
		if json.Unmarshal(other, &value) == nil {
			other, _ = json.Marshal(value) // as a database may return it
			text = rapid.OneOf(text, rapid.Just(string(e.Data[:rapid.IntRange(0, len(e.Data)).Draw(t, "cut")])))
			e.Data = other
		}
	}
	e.TimestampSource = text.Draw(t, "time source")
	e.TimestampText, e.Preview = rapid.Ptr(text, true).Draw(t, "time text"), rapid.Ptr(text, true).Draw(t, "preview")
	if rapid.IntRange(0, 3).Draw(t, "raw") == 0 {
		e.DataRaw = []byte(text.Draw(t, "data_raw"))
	}
	return e
}

// packedSegment is a whole packed segment.
type packedSegment struct {
	*segment.Packed
	blocks [][]byte
}

// pack packs events in blocks of a few. If that is an odd number, most columns are frames.
func pack(t testing.TB, events []models.Event, perBlock int) packedSegment {
	t.Helper()
	packer := segment.NewPacker()
	if perBlock%2 == 1 {
		packer.SetFrameBytes(12)
	}
	var s packedSegment
	for some := range slices.Chunk(events, perBlock) {
		block, err := packer.Add(some)
		if err != nil {
			t.Fatal(err)
		}
		s.blocks = append(s.blocks, block)
	}
	var err error
	if s.Packed, err = packer.Pack(); err != nil {
		t.Fatal(err)
	}
	return s
}

// unpacked returns the events of a packed segment.
func unpacked(t testing.TB, p packedSegment, firstSeq int64) (events []models.Event, hot *segment.Columns, blocks []*segment.Block) {
	t.Helper()
	hot, err := segment.DecodeColumns(p.Columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, packed := range p.blocks {
		b, err := segment.DecodeBlock(packed, hot, len(events))
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			e := models.Event{}
			if err := b.Event(&e, i); err != nil {
				t.Fatal(err)
			}
			e.Seq = firstSeq + int64(len(events))
			events = append(events, e)
		}
		blocks = append(blocks, b)
	}
	return events, hot, blocks
}

func release(blocks []*segment.Block) {
	for _, b := range blocks {
		b.Release()
	}
}

// TestPackKeepsEveryField checks that every event returns as it was, byte for byte, and
// stays so while other blocks use the memory of its block.
func TestPackKeepsEveryField(t *testing.T) {
	others := pack(t, realisticEvents(t, 300), 7)
	rapid.Check(t, func(rt *rapid.T) {
		var events []models.Event
		for i := range rapid.IntRange(1, 40).Draw(rt, "events") {
			events = append(events, anyWholeEvent(rt, int64(i+1)))
		}
		read, _, blocks := unpacked(t, pack(t, events, rapid.IntRange(1, 40).Draw(rt, "per block")), 1)
		release(blocks)
		_, _, blocks = unpacked(t, others, 1)
		release(blocks)
		if len(read) != len(events) {
			t.Fatalf("%d of %d events return", len(read), len(events))
		}
		for i := range events {
			if !reflect.DeepEqual(read[i], events[i]) {
				t.Fatalf("event %d returns as\n%+v, was\n%+v", i, read[i], events[i])
			}
		}
	})
}

// TestPreviewInAnotherOrder checks that previews take little space if the database has
// changed the order of keys.
func TestPreviewInAnotherOrder(t *testing.T) {
	events := realisticEvents(t, 500)
	without := pack(t, events, 500)
	for i := range events {
		var value map[string]any
		if err := json.Unmarshal(events[i].Data, &value); err != nil {
			t.Fatal(err)
		}
		preview := `{"operation":"ReadFile","offset":` + strconv.Itoa(i*4096) + `,"filePath":"` + value["filePath"].(string)[:20]
		events[i].Preview = &preview
	}
	with := pack(t, events, 500)
	if read, _, _ := unpacked(t, with, 1); !reflect.DeepEqual(read, events) {
		t.Error("the events do not return")
	}
	if more := len(with.blocks[0]) - len(without.blocks[0]); more > 250 {
		t.Errorf("500 previews take %d bytes", more)
	}
}

// TestSelectMeansMatch checks that a filter selects the same events of a segment as
// filter.Match, and that MayMatch is true if it selects any.
func TestSelectMeansMatch(t *testing.T) {
	selected, skipped, tried := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		const firstSeq = 3
		var events []models.Event
		for i := range 20 {
			events = append(events, received(rt, odd.Event(rt), firstSeq+int64(i)))
		}
		p := pack(t, events, rapid.IntRange(1, 20).Draw(rt, "per block"))
		_, hot, blocks := unpacked(t, p, firstSeq)
		for range 30 {
			text := odd.Filter(rt, 2)
			where, err := filter.Parse(text)
			if err != nil {
				continue
			}
			var got []bool
			if where.NeedsData() {
				for _, b := range blocks {
					got = append(got, b.Select(where, firstSeq, nil)...)
				}
			} else {
				got = hot.Select(where, firstSeq, nil)
			}
			may, matches := segment.MayMatch(p.Skip, where), 0
			for i := range events {
				want := where.Match(&events[i])
				if got[i] != want {
					t.Fatalf("Match says %v of\n%s\n%s\n%+v", want, text, events[i].Data, events[i])
				}
				if want {
					matches++
				}
			}
			if matches > 0 && !may {
				t.Fatalf("%s selects %d events of a segment that is skipped", text, matches)
			}
			tried++
			if matches > 0 {
				selected++
			} else if !may {
				skipped++
			}
		}
	})
	t.Logf("%d of %d filters selected an event; of the others, %d skipped the segment", selected, tried, skipped)
	if selected < tried/10 || skipped < tried/100 {
		t.Error("the filters say nothing")
	}
}

// TestMembersAreThoseOfData checks that the members of a block's events are those that
// jsonscan finds in their data.
func TestMembersAreThoseOfData(t *testing.T) {
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		var events []models.Event
		keys := map[string]bool{"nothing": true}
		for i := range 20 {
			e := received(rt, odd.Event(rt), int64(i+1))
			events = append(events, e)
			for key, value := range jsonscan.Members(e.Data) {
				keys[key] = true
				for inner := range jsonscan.Members(value) {
					keys[inner] = true
				}
			}
		}
		var tree jsonscan.Tree
		names := slices.Sorted(maps.Keys(keys))
		for i, key := range names {
			tree.Key(key).Want(2 * i)
			tree.Key(rapid.SampledFrom(names).Draw(rt, "outer")).Key(key).Want(2*i + 1)
		}
		_, _, blocks := unpacked(t, pack(t, events, rapid.IntRange(1, 20).Draw(rt, "per block")), 1)
		got := make([][]byte, 2*len(names))
		for _, b := range blocks {
			members := b.Members(&tree, len(got))
			for i := range b.Len() {
				if err := members.Pick(i, got); err != nil {
					t.Fatal(err)
				}
				want := make([][]byte, len(got))
				tree.Pick(events[0].Data, want)
				for j := range got {
					if !bytes.Equal(got[j], want[j]) || (got[j] == nil) != (want[j] == nil) {
						t.Fatalf("member %d is %q, not %q, of\n%s", j, got[j], want[j], events[0].Data)
					}
					if got[j] != nil {
						found++
					}
				}
				events = events[1:]
			}
		}
	})
	if found == 0 {
		t.Error("no event has a member")
	}
}

// realisticEvents returns events like those of a program that reads files.
func realisticEvents(t testing.TB, n int) (events []models.Event) {
	t.Helper()
	for i := range n {
		body, err := json.Marshal(map[string]any{
			"event_type": "file_operation", "timestamp": time.Date(2026, 11, 22, 12, 0, 0, i*1000, time.UTC), "source": "s",
			"data": map[string]any{"operation": "ReadFile", "filePath": "/usr/lib/x86_64-linux-gnu/lib" + strconv.Itoa(i%50) + ".so", "offset": i * 4096, "metadata": map[string]any{"processName": "cat", "processId": 4711}},
		})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, received(t, string(body), int64(i+1)))
	}
	return events
}

// TestSkip checks that a segment is skipped by what it lacks.
func TestSkip(t *testing.T) {
	p := pack(t, realisticEvents(t, 500), 200)
	for text, want := range map[string]bool{
		"libxyz": false, "x86_64": true, "LIB49.so": true, `"lib49.so" and process: cat`: true, "process: dog": false, "pid = 4711": true, "pid = 4712": false, "target = /etc/passwd": false,
		"type = process_exit": false, "type = file_operation": true, "op: WriteFile or op: ReadFile": true, "op: WriteFile and op: ReadFile": false, "not libxyz": true, "data.offset = 4096": true, "target: *lib4?.so*": true,
		`data.filePath contains "passwd"`: false, "exists data.nothing": true, "*": true, "zz": true,
	} {
		where, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := segment.MayMatch(p.Skip, where); got != want {
			t.Errorf("MayMatch says %v of %s", got, text)
		}
	}
	if !segment.MayMatch(p.Skip, nil) || !segment.MayMatch(nil, nil) {
		t.Error("a segment is skipped without a filter")
	}
}

// TestRandomContentHasNoSkip checks that a segment with all kinds of trigrams is never
// skipped.
func TestRandomContentHasNoSkip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = byte(' ' + random.IntN(256-' '))
	}
	e := received(t, `{"event_type":"x","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{}}`, 1)
	e.Data = models.JSON(`{"body":"` + strings.NewReplacer(`"`, "'", `\`, "/").Replace(string(text)) + `"}`)
	p := pack(t, []models.Event{e}, 1)
	read, _, _ := unpacked(t, p, 1)
	if !reflect.DeepEqual(read, []models.Event{e}) {
		t.Error("the event does not return")
	}
	if len(p.Skip) > 0 {
		t.Errorf("there are %d bytes to skip it", len(p.Skip))
	}
}

func TestDamagedBlockIsRefused(t *testing.T) {
	p := pack(t, realisticEvents(t, 100), 100)
	hot, err := segment.DecodeColumns(p.Columns)
	if err != nil {
		t.Fatal(err)
	}
	block := p.blocks[0]
	for i := range block {
		damaged := bytes.Clone(block)
		damaged[i] ^= 0x55
		if _, err := segment.DecodeBlock(damaged, hot, 0); err == nil {
			t.Fatalf("byte %d was changed without notice", i)
		}
	}
	for i := range block {
		if _, err := segment.DecodeBlock(block[:i], hot, 0); !errors.Is(err, segment.ErrDamaged) {
			t.Fatalf("%d of %d bytes return %v", i, len(block), err)
		}
	}
	if _, err := segment.DecodeBlock(block, hot, 1); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("a block with more events than its columns returns %v", err)
	}
	unknown := bytes.Clone(block)
	unknown[0] = 99
	if _, err := segment.DecodeBlock(unknown, hot, 0); err == nil || errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), "99") {
		t.Errorf("an unknown format returns %v", err)
	}
}

// FuzzReadBlock checks that bytes with a correct checksum which are no block are refused,
// or read as something, without a panic.
func FuzzReadBlock(f *testing.F) {
	events := realisticEvents(f, 20)
	events[0].Data = models.JSON(`{"body":"` + strings.Repeat("abc", 5000) + `"}`) // a frame
	hot := &segment.Columns{}
	for i := range events {
		hot.Append(&events[i])
	}
	head, frames := segment.AppendBlock(events)
	f.Add(head, frames)
	f.Add(head[:len(head)/2], frames)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, frames)
	where, err := filter.Parse(`"x" or data.a.b[0] = 1 or target: x`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, head, frames []byte) {
		b, err := segment.ReadBlock(head, frames, hot)
		if err != nil {
			return
		}
		for i := range b.Len() {
			_ = b.Event(&models.Event{}, i)
		}
		b.Select(where, 1, nil)
		b.Release()
	})
}

// BenchmarkPack packs the recordings of real events in test/bench/testdata. It reports the
// bytes per event of each part, and those of their JSON.
func BenchmarkPack(b *testing.B) {
	for _, name := range []string{"build", "package", "python", "shell", "http"} {
		b.Run(name, func(b *testing.B) {
			events := recorded(b, name)
			var data, columns, blocks, skip int
			for b.Loop() {
				data, columns, blocks, skip = 0, 0, 0, 0
				for some := range slices.Chunk(events, models.SegmentEvents) {
					p := pack(b, some, models.SegmentEvents)
					columns, skip = columns+len(p.Columns), skip+len(p.Skip)
					for _, block := range p.blocks {
						blocks += len(block)
					}
				}
			}
			for i := range events {
				data += len(events[i].Data)
			}
			for part, bytes := range map[string]int{"json": data, "columns": columns, "blocks": blocks, "skip": skip, "all": columns + blocks + skip} {
				b.ReportMetric(float64(bytes)/float64(len(events)), part+"-B/event")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
		})
	}
}

// recorded returns the events of a recording.
func recorded(t testing.TB, name string) (events []models.Event) {
	t.Helper()
	for i, text := range recording.Events(t, name) {
		events = append(events, received(t, text, int64(i+1)))
	}
	return events
}

func BenchmarkUnpack(b *testing.B) {
	p := pack(b, recorded(b, "build")[:models.SegmentEvents], models.SegmentEvents)
	for b.Loop() {
		_, _, blocks := unpacked(b, p, 1)
		release(blocks)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*models.SegmentEvents), "ns/event")
}
