package wire_test

import (
	"testing"

	"ospulse/internal/models"
)

// fuzzDecoder feeds any bytes to the decoder of a path. Whatever it accepts must be
// valid for the database and for both views.
func fuzzDecoder(f *testing.F, path string, seeds ...string) {
	n := 0
	for _, r := range fixtures(f) {
		if r.Path == path && len(r.Body) < 2000 && n < 8 {
			f.Add([]byte(r.Body))
			n++
		}
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		incoming, faults, err := decode(path, body)
		if err != nil {
			if code := models.ErrorCode(err); code != models.CodeInvalid {
				t.Fatalf("%v has the code %s", err, code)
			}
			return
		}
		sent, err := sentData(path, body)
		if err != nil || len(sent) != len(incoming) {
			t.Fatalf("%d events and %d faults, encoding/json reads %d (%v)", len(incoming), len(faults), len(sent), err)
		}
		for i := range incoming {
			if err := checkStorable(&incoming[i], sent[i]); err != nil {
				t.Fatal(err)
			}
			if err := checkView(&incoming[i].Event, false); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzEvent(f *testing.F) {
	fuzzDecoder(f, "/api/events",
		`{"event_type":"process_creation","data":{"image_path":"a","metadata":null,"metadata":{"processId":"7"},"timestamp":null}}`,
		`{"event_type":"file_operation","timestamp":"2026-11-22 18:57:39+0130","data":["\u0000\udce9",-0,1e400]}`,
		`{"event_type":"raw_network_operation","data":{"timestamp":1,"timestamp_epoch":2,"protocol":{}}}`,
		`{"event_type":"http_network_operation","data":{"request":{"body":{"content":"\ud83d\ude00"}},"response":0}}`)
}

func FuzzHTTPFlow(f *testing.F) {
	fuzzDecoder(f, "/api/http/events",
		`{"timestamp_ms":"1","request":{"method":null,"body":{"content":"\ud83d\ude00","content_b64":null}},"response":null}`,
		` {"timestamp_ms":1e18,"request":{"body":5},"response":{"body":[]},"metadata":1,"metadata_sent":2} `)
}

func FuzzPackets(f *testing.F) {
	fuzzDecoder(f, "/api/net/events",
		`{"events":[{"timestamp":1e18,"protocol":5,"dst":"fe80::1","dst_port":443},7,{"timestamp":"x","protocol":null}],"count":3}`,
		`{"count":null,"events":[{"timestamp":1795374137.9753144,"timestamp":null,"timestamp_epoch":1}]}`)
}
