package export

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"ospulse/internal/models"
)

// csv writes events as RFC 4180 has it, with a header row. A text cell that a
// spreadsheet would take for a formula gets an apostrophe in front, as OWASP's
// "CSV Injection" advises; so does one that begins with an apostrophe, so that a
// program that reads the file takes one away wherever there is one. Cells of
// numbers and times hold nothing that an agent chose, and stay as they are. A value
// that is not there is an empty cell.
//
// For Excel, which reads a file without a byte order mark in the code page of its
// machine and spreads a longer cell over the next rows, it begins with that mark and
// cuts cells at maxExcelCell.
type csv struct{ forExcel bool }

// maxExcelCell is how many UTF-16 code units a cell of Excel holds
// (https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3), and
// excelCut ends a cell that had more.
const (
	maxExcelCell = 32_767
	excelCut     = "… (cut for Excel)"
)

func (c csv) Begin(out []byte) []byte {
	if c.forExcel {
		out = append(out, "\ufeff"...)
	}
	return append(out, "seq,timestamp,event_type,source,pid,process_name,operation,target,data\r\n"...)
}

func (c csv) Event(out []byte, e *models.Event) []byte {
	out = strconv.AppendInt(out, e.Seq, 10)
	out = models.AppendTime(append(out, ','), e.Timestamp)
	out = c.appendCell(append(out, ','), e.EventType)
	out = c.appendCell(append(out, ','), e.Source)
	out = append(out, ',')
	if e.PID != nil {
		out = strconv.AppendInt(out, *e.PID, 10)
	}
	for _, text := range [...]*string{e.ProcessName, e.Operation, e.Target} {
		out = append(out, ',')
		if text != nil {
			out = c.appendCell(out, *text)
		}
	}
	out = c.appendCell(append(out, ','), string(e.Payload()))
	return append(out, "\r\n"...)
}

func (csv) End(out []byte) []byte { return out }

// escapedStarts are the characters that begin a formula in some spreadsheet, as OWASP
// lists them (also in full width, as East Asian editions read them), and the escape.
const escapedStarts = "=+-@\t\r\n＝＋－＠'"

// appendCell appends a text cell.
func (c csv) appendCell(out []byte, text string) []byte {
	if c.forExcel {
		text = cutForExcel(text)
	}
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

// cutForExcel shortens a text to the length of a cell, including an apostrophe in
// front.
func cutForExcel(text string) string {
	const room = maxExcelCell - len("'")
	if len(text) <= room {
		return text
	}
	units, end := 0, 0 // end: the last place where excelCut still fits
	for i, r := range text {
		if units <= room-utf8.RuneCountInString(excelCut) {
			end = i
		}
		if units += utf16.RuneLen(r); units > room {
			return text[:end] + excelCut
		}
	}
	return text
}
