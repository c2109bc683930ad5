// Package export writes the events of a session in the formats that other programs read.
// It works on streams, in constant memory, and knows nothing of HTTP or databases.
package export

import (
	"strings"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Encoder writes events in one format, in the order of their Seq. Each method appends
// to out and returns it. An Encoder serves one export and one goroutine.
type Encoder interface {
	// Begin appends the text before the first event.
	Begin(out []byte) []byte
	// Event appends an event, or keeps copies of it for a later call.
	Event(out []byte, e *models.Event) []byte
	// End appends the kept events and the text after the last event.
	End(out []byte) []byte
}

// Format is one way to write events.
type Format struct {
	Name        string // as clients request it
	ContentType string
	Extension   string // of the file name, with its dot
	EventType   string // the only event type in it; empty for all types
	IsLines     bool   // one JSON value per line, so one more line is harmless
	New         func(version string) Encoder
}

// formats are the formats that clients can request, the default first.
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

// FindFormat returns the format with a name, ndjson for "". The error has code invalid
// and lists the names.
func FindFormat(name string) (Format, error) {
	if name == "" {
		return formats[0], nil
	}
	for _, f := range formats {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, models.Errorf(models.CodeInvalid, "format must be one of %s, not %.100q", strings.Join(Names(), ", "), name)
}

// Names returns the names of all formats: the default first, and FormatBundle last.
func Names() []string {
	names := make([]string, 0, len(formats)+1)
	for _, f := range formats {
		names = append(names, f.Name)
	}
	return append(names, FormatBundle)
}

// ndjson writes one event per line.
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
