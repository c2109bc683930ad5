package export_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"unicode/utf16"

	"ospulse/internal/export"
	"ospulse/internal/models"
)

// TestCSVForExcel checks that a file for Excel begins with a byte order mark, and that
// no cell exceeds Excel's limit or is truncated without a mark.
func TestCSVForExcel(t *testing.T) {
	format, err := export.FindFormat("csv")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"short": "é", "formula": "=1+1", "at the limit": strings.Repeat("x", 32_766), "one more": strings.Repeat("x", 32_767), "formula, long": "=" + strings.Repeat("1", 40_000),
		"quotes": strings.Repeat(`"`, 40_000), "two bytes": strings.Repeat("é", 32_766), "emoji": strings.Repeat("😀", 16_383), "emoji, one more": strings.Repeat("😀", 16_384),
		"emoji, odd": "x" + strings.Repeat("😀", 20_000), "lines": strings.Repeat("a\n", 20_000), "bytes": strings.Repeat("\xff", 40_000),
	} {
		e := models.Event{Seq: 1, Timestamp: noon, EventType: "x", Source: "s", Target: &text, Data: models.JSON(text)}
		encoder := export.ForExcel(format).New("")
		out := encoder.End(encoder.Event(encoder.Begin(nil), &e))
		rest, hasMark := bytes.CutPrefix(out, []byte("\ufeff"))
		rows, err := csv.NewReader(bytes.NewReader(rest)).ReadAll()
		if !hasMark || err != nil || len(rows) != 2 {
			t.Fatalf("%s: mark %t, %d rows, %v", name, hasMark, len(rows), err)
		}
		for _, cell := range rows[1][7:] {
			plain, isCut := strings.CutSuffix(cell, "… (cut for Excel)")
			plain = strings.TrimPrefix(plain, "'")
			if n := len(utf16.Encode([]rune(cell))); n > 32_767 {
				t.Errorf("%s: a cell has %d characters", name, n)
			}
			if isLong := len(utf16.Encode([]rune(text))) > 32_766; isCut != isLong || !strings.HasPrefix(text, plain) || !isCut && plain != text || isCut && len(plain) < 32_000 {
				t.Errorf("%s: %d of %d bytes, cut: %t", name, len(plain), len(text), isCut)
			}
		}
		if plain := write(t, "csv", e); bytes.HasPrefix(plain, []byte("\ufeff")) || !bytes.Contains(plain, []byte(strings.ReplaceAll(text, `"`, `""`))) {
			t.Errorf("%s: the plain format is changed", name)
		}
	}
}
