//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestSink(t *testing.T) {
	handler := newSink()
	ask := func(method, path, key, encoding string, body []byte) (a struct {
		arrived
		counts
	}) {
		t.Helper()
		request := httptest.NewRequest(method, path, bytes.NewReader(body))
		request.Header.Set("Idempotency-Key", key)
		request.Header.Set("Content-Encoding", encoding)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
		}
		if method == http.MethodDelete {
			if err := json.Unmarshal(answer.Body.Bytes(), &a.counts); err != nil {
				t.Fatal(err)
			}
			return a
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &a.arrived); err != nil {
			t.Fatal(err)
		}
		return a
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	const batch = "/api/events/batch?sessionId=s"
	first := encoder.EncodeAll([]byte(`{"event_type":"session_start","data":{}}
{"event_type":"file_operation","data":{"filePath":"/a/file0"}}
{"event_type":"file_operation","data":{"filePath":"/b"}}
{"event_type":"events_lost","data":{"count":7}}
{"event_type":"events_left_out","data":{"counts":{"reads":9}}}
{"event_type":"events_left_out","data":{"counts":{"reads":10,"closes":3}}}
{"event_type":"program_paused","data":{}}
{"event_type":"network_operation","data":{"name":"\"/a/file"}}
`), nil)
	if ask("GET", "/api/sessions/s", "", "", nil).isEnded() {
		t.Error("a session that is not there has ended")
	}
	ask("POST", batch, "k1", "zstd", first)
	ask("POST", batch, "k1", "zstd", first) // sent again
	if ask("GET", "/api/sessions/s", "", "", nil).isEnded() {
		t.Error("the session has ended too soon")
	}
	ask("POST", "/api/events/batch?sessionId=other", "k3", "", []byte(`{"event_type":"x"}`))
	ask("POST", batch, "k2", "", []byte(`{"event_type": "session_end","data":{}}`))
	if !ask("GET", "/api/sessions/s", "", "", nil).isEnded() {
		t.Error("the session has not ended")
	}
	if got, want := ask("DELETE", `/api/sessions/s?path=%22/a/file`, "", "", nil).counts, (counts{Events: 6, Lost: 7, LeftOut: 13, Pauses: 1, Matches: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := ask("DELETE", "/api/sessions/s", "", "", nil).counts; got != (counts{}) {
		t.Errorf("forgotten events are %+v", got)
	}
}

func TestSinkRefusesWhatItCannotRead(t *testing.T) {
	handler := newSink()
	request := httptest.NewRequest("POST", "/api/events/batch?sessionId=s", strings.NewReader("no zstd"))
	request.Header.Set("Content-Encoding", "zstd")
	handler.ServeHTTP(httptest.NewRecorder(), request)
	for _, method := range []string{"GET", "DELETE"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(method, "/api/sessions/s", nil))
		if answer.Code != http.StatusInternalServerError {
			t.Errorf("%s: %d %s", method, answer.Code, answer.Body)
		}
	}
}
