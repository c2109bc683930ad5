package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// incompressible returns up to n bytes of text that cannot be compressed: repeated
// letters would fit an index entry because PostgreSQL compresses them.
func incompressible(n int, alphabet []rune) string {
	random := rand.New(rand.NewPCG(uint64(n), 0))
	var text strings.Builder
	for text.Len()+utf8.RuneLen(alphabet[0]) <= n {
		text.WriteRune(alphabet[random.IntN(len(alphabet))])
	}
	return text.String()
}

// TestLongNamesPoisonNoBatch checks that a value which is too long for an index costs
// no event, on either database, and that the data keeps the whole value.
func TestLongNamesPoisonNoBatch(t *testing.T) {
	ascii := []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
	var wide []rune
	for r := rune(0x4e00); r < 0x9fa0; r++ {
		wide = append(wide, r)
	}
	texts := map[string]string{"4000 bytes": incompressible(4000, ascii), "2800 bytes": incompressible(2800, ascii), "wide": incompressible(8000, wide), "a megabyte": incompressible(1<<20, ascii)}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		const good = `{"event_type":"x","source":"good","data":{"processName":"p"}}`
		stored := 0
		for name, text := range texts {
			for place, data := range map[string]string{
				"name":    `{"metadata":{"processName":"%s","processId":1,"sessionId":"a"}}`,
				"snake":   `{"process_info":{"process_name":"%[1]s","pid":2}}`,
				"path":    `{"filePath":"%[1]s","pid":3,"operation":"%[1]s"}`,
				"child":   `{"imagePath":"%[1]s","commandLine":"%[1]s","newProcessId":5,"pid":4}`,
				"session": `{"metadata":{"sessionId":"%[1]s"}}`,
				"url":     `{"request":{"url":"%[1]s","method":"%[1]s"}}`,
				"host":    `{"dst":"%[1]s","dst_port":1}`,
				"all":     `{"processName":"%[1]s","filePath":"%[1]s","operation":"%[1]s","pid":6}`,
			} {
				batch := "["
				for range 9 {
					batch += good + ","
				}
				batch += `{"event_type":"process_creation","source":"long","data":` + strings.ReplaceAll(strings.ReplaceAll(data, "%[1]s", text), "%s", text) + `}]`
				if a := b.send("POST", "/api/events/batch", batch); a.status != http.StatusOK || !strings.Contains(string(a.body), `"stored":10`) {
					t.Errorf("%s as %s: %d %.300s", name, place, a.status, a.body)
				}
				stored += 10
			}
		}
		events := b.export("unassigned")
		if len(events) != stored {
			t.Errorf("%d events are stored, want %d", len(events), stored)
		}
		for _, e := range events {
			if e.Source == "long" && len(e.Data) < 2800 {
				t.Errorf("data is cut to %d bytes", len(e.Data))
			}
		}
	})
}

// TestLongEnvelopeFieldsNameTheItem checks that envelope fields are not truncated: a
// long one is refused with the item's index and the field's name, and the other items
// are stored.
func TestLongEnvelopeFieldsNameTheItem(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		long := base64.StdEncoding.EncodeToString([]byte(incompressible(3000, []rune("abcdefgh"))))
		for field, item := range map[string]string{
			"event_type": `{"event_type":"` + long + `","source":"s"}`,
			"source":     `{"event_type":"x","source":"` + long + `"}`,
			"timestamp":  `{"event_type":"x","source":"s","timestamp":"` + long + `"}`,
		} {
			a := b.send("POST", "/api/events/batch", `[{"event_type":"x","source":"good"},`+item+`,{"event_type":"x","source":"good"}]`)
			var receipt struct {
				Stored int
				Errors []struct {
					Index int
					Error string
				}
			}
			if err := json.Unmarshal(a.body, &receipt); err != nil || a.status != http.StatusOK || receipt.Stored != 2 || len(receipt.Errors) != 1 || receipt.Errors[0].Index != 1 || !strings.Contains(receipt.Errors[0].Error, field) {
				t.Errorf("%s: %d %.300s", field, a.status, a.body)
			}
			wantError(t, b.send("POST", "/api/events/batch", "["+item+"]"), http.StatusBadRequest, "invalid", fmt.Sprintf("events[0]: %s", field))
			wantError(t, b.send("POST", "/api/events", item), http.StatusBadRequest, "invalid", field)
		}
	})
}
