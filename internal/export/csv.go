package export

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// csv writes events as RFC 4180 has it, with a header row. A text cell that a
// spreadsheet would take for a formula gets an apostrophe in front, as OWASP's
// "CSV Injection" advises; so does one that begins with an apostrophe, so that a
// program that reads the file takes one away wherever there is one. Cells of
// numbers and times hold nothing that an agent chose, and stay as they are. A value
// that is not there is an empty cell.
type csv struct{}

func (csv) Begin(out []byte) []byte {
	return append(out, "seq,timestamp,event_type,source,pid,process_name,operation,target,data\r\n"...)
}

func (csv) Event(out []byte, e *models.Event) []byte {
	out = strconv.AppendInt(out, e.Seq, 10)
	out = wire.AppendTime(append(out, ','), e.Timestamp)
	out = appendCell(append(out, ','), e.EventType)
	out = appendCell(append(out, ','), e.Source)
	out = append(out, ',')
	if e.PID != nil {
		out = strconv.AppendInt(out, *e.PID, 10)
	}
	for _, text := range [...]*string{e.ProcessName, e.Operation, e.Target} {
		out = append(out, ',')
		if text != nil {
			out = appendCell(out, *text)
		}
	}
	out = appendCell(append(out, ','), string(e.Payload()))
	return append(out, "\r\n"...)
}

func (csv) End(out []byte) []byte { return out }

// escapedStarts are what a formula begins with in some spreadsheet, as OWASP lists
// them (in full width too, as East Asian editions read them), and the escape.
const escapedStarts = "=+-@\t\r\n＝＋－＠'"

// appendCell appends a text cell.
func appendCell(out []byte, text string) []byte {
	isEscaped := false
	if text != "" {
		first, _ := utf8.DecodeRuneInString(text)
		isEscaped = strings.ContainsRune(escapedStarts, first)
	}
	isQuoted := isEscaped || strings.ContainsAny(text, ",\"\r\n")
	if !isQuoted {
		return append(out, text...)
	}
	out = append(out, '"')
	if isEscaped {
		out = append(out, '\'')
	}
	for {
		i := strings.IndexByte(text, '"')
		if i < 0 {
			break
		}
		out = append(append(out, text[:i]...), `""`...)
		text = text[i+1:]
	}
	return append(append(out, text...), '"')
}
