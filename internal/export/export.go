// Package export writes the events of a session in the formats that other programs read.
// It works on streams, in constant memory, and knows nothing of HTTP or databases.
package export

import (
	"strings"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Encoder writes events in one format, in the order of their Seq. Each method
// appends to out and gives it back. It is for one export and one goroutine.
type Encoder interface {
	// Begin appends what comes before the first event.
	Begin(out []byte) []byte
	// Event appends an event, or keeps it for a later call: of an event it keeps
	// copies only.
	Event(out []byte, e *models.Event) []byte
	// End appends what was kept, and what comes after the last event.
	End(out []byte) []byte
}

// Format is one way to write events.
type Format struct {
	Name        string // as clients ask for it
	ContentType string
	Extension   string // of a file's name, with its dot
	EventType   string // the only type of events that it holds; empty for all
	IsLines     bool   // one JSON value a line: one more line does no harm
	New         func(version string) Encoder
}

// formats are those that clients can ask for, the default first.
var formats = []Format{ //nolint:gochecknoglobals // a constant
	{Name: "ndjson", ContentType: "application/x-ndjson", Extension: ".ndjson", IsLines: true, New: func(string) Encoder { return ndjson{} }},
	{Name: "json", ContentType: "application/json; charset=utf-8", Extension: ".json", New: func(string) Encoder { return &jsonArray{} }},
	{Name: FormatCSV, ContentType: "text/csv; charset=utf-8; header=present", Extension: ".csv", New: func(string) Encoder { return csv{} }},
	{Name: "har", ContentType: "application/json; charset=utf-8", Extension: ".har", EventType: models.TypeHTTP, New: newHAR},
	{Name: "ecs", ContentType: "application/x-ndjson", Extension: ".ecs.ndjson", IsLines: true, New: func(string) Encoder { return ecs{} }},
}

// FormatCSV is the name of the format that can be written for Excel.
const FormatCSV = "csv"

// ForExcel returns the format of CSV as Excel reads it: with a byte order mark, and
// with cells no longer than Excel takes.
func ForExcel(format Format) Format {
	format.New = func(string) Encoder { return csv{forExcel: true} }
	return format
}

// FormatBundle is the name under which clients ask for a bundle. It is not a Format:
// package bundle writes it.
const FormatBundle = "bundle"

// FindFormat gives the format of a name, ndjson for none, or an error of code
// invalid that lists the names.
func FindFormat(name string) (Format, error) {
	if name == "" {
		return formats[0], nil
	}
	names := make([]string, 0, len(formats)+1)
	for _, f := range formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, models.Errorf(models.CodeInvalid, "format must be one of %s, not %.100q", strings.Join(append(names, FormatBundle), ", "), name)
}

// ndjson writes one event a line.
type ndjson struct{}

func (ndjson) Begin(out []byte) []byte { return out }

func (ndjson) Event(out []byte, e *models.Event) []byte {
	return append(wire.AppendExported(out, e), '\n')
}

func (ndjson) End(out []byte) []byte { return out }

// jsonArray writes all events as one JSON array.
type jsonArray struct{ begun bool }

func (a *jsonArray) Begin(out []byte) []byte { return append(out, '[') }

func (a *jsonArray) Event(out []byte, e *models.Event) []byte {
	if a.begun {
		out = append(out, ",\n"...)
	}
	a.begun = true
	return wire.AppendExported(out, e)
}

func (a *jsonArray) End(out []byte) []byte { return append(out, "]\n"...) }
