package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestRecorderKeepsWhatIsPosted(t *testing.T) {
	const (
		first = `{"event_type":"session_start","data":{}}` + "\n" + `{"event_type":"http_network_operation","data":{}}` + "\n"
		last  = `{"event_type":"session_end","data":{}}` + "\n"
	)
	packed, err := compress([]byte(last), zstd.SpeedDefault, zstdWindow)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{ended: make(chan struct{})}
	post := func(path, encoding string, body []byte) int {
		request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		request.Header.Set("Content-Encoding", encoding)
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, request)
		return answer.Code
	}
	if code := post(batchPath+"?sessionId=build", "", []byte(first)); code != http.StatusOK {
		t.Errorf("a batch is answered %d", code)
	}
	select {
	case <-r.ended:
		t.Fatal("it ends before the last event")
	default:
	}
	if code := post("/api/agents/heartbeat", "", []byte(first)); code != http.StatusNotFound {
		t.Errorf("a heartbeat is answered %d", code)
	}
	if code := post(batchPath, "zstd", packed); code != http.StatusOK {
		t.Errorf("a compressed batch is answered %d", code)
	}
	<-r.ended
	if string(r.text) != first+last {
		t.Errorf("it kept %s", r.text)
	}
	if flows := flowsOf(r.text); string(flows) != `{"event_type":"http_network_operation","data":{}}`+"\n" {
		t.Errorf("the flows are %s", flows)
	}
}
