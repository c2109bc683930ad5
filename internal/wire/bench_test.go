package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"ospulse/internal/wire"
)

// small is a typical event of a controller.
const small = `{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39.967551Z","source":"os-pulse-controller","data":{"handle":"0x1b4","filePath":"C:\\Windows\\System32\\UIAutomationCore.dll","bytesTransferred":4,"content":"92 B7 DC 01","timestamp":"2026-11-22T18:57:39.966Z","operation":"ReadFile","metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"cmd.exe","processId":102}}}`

// BenchmarkEvent compares the decoder with encoding/json, which here does less: it
// decodes the envelope and the lifted fields, and does not check for jsonb.
func BenchmarkEvent(b *testing.B) {
	now := time.Now()
	b.Run("wire", func(b *testing.B) {
		b.SetBytes(int64(len(small)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Event([]byte(small), now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(small)))
		b.ReportAllocs()
		for b.Loop() {
			var event struct {
				EventType string          `json:"event_type"`
				Timestamp time.Time       `json:"timestamp"`
				Source    string          `json:"source"`
				Data      json.RawMessage `json:"data"`
			}
			var data struct {
				FilePath  string `json:"filePath"`
				Operation string `json:"operation"`
				Metadata  struct {
					SessionID   string `json:"sessionId"`
					ProcessName string `json:"processName"`
					ProcessID   int64  `json:"processId"`
				} `json:"metadata"`
			}
			if err := json.Unmarshal([]byte(small), &event); err != nil {
				b.Fatal(err)
			}
			if err := json.Unmarshal(event.Data, &data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
