package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

type rolledFiles struct {
	Files []struct {
		Path      string `json:"path"`
		Reads     int64  `json:"reads"`
		Writes    int64  `json:"writes"`
		Renames   int64  `json:"renames"`
		BytesRead int64  `json:"bytes_read"`
		Processes []struct {
			PID   *int64 `json:"pid"`
			Name  string `json:"name"`
			Count int64  `json:"count"`
		} `json:"processes"`
		FirstAt   string  `json:"first_at"`
		FirstSeq  int64   `json:"first_seq"`
		LastSeq   int64   `json:"last_seq"`
		RenamedTo *string `json:"renamed_to"`
	} `json:"files"`
	Total       int     `json:"total"`
	WithoutPath int64   `json:"without_path"`
	Truncated   bool    `json:"truncated"`
	Seq         int64   `json:"seq"`
	NextCursor  *string `json:"next_cursor"`
}

func (r *rolledFiles) paths() string {
	var paths []string
	for _, f := range r.Files {
		paths = append(paths, f.Path)
	}
	return strings.Join(paths, " ")
}

func TestFilesOfASession(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		files := func(query string) (r rolledFiles) {
			t.Helper()
			b.decode(b.send("GET", "/api/sessions/"+id+"/files?"+query, ""), http.StatusOK, &r)
			return r
		}
		if r := files(""); len(r.Files) != 0 || r.Files == nil || r.Seq != 0 || r.NextCursor != nil {
			t.Errorf("of no events: %+v", r)
		}
		var events []string
		for i := range 60 {
			events = append(events, fmt.Sprintf(`{"event_type":"file_operation","timestamp":"2026-11-22T18:57:%02dZ","data":{"operation":%q,"filePath":"C:\\Temp\\f%d","bytesTransferred":%d,"newFilePath":"C:\\x","metadata":{"processId":%d,"processName":"a.exe"}}}`,
				i, []string{"ReadFile", "WriteFile", "RenameFile"}[i%3], i%6, i, i%2))
		}
		b.sendEvents(id, append(events, `{"event_type":"file_operation","data":{"operation":"ReadFile"}}`, `{"event_type":"x"}`))
		r := files("")
		if r.Total != 6 || len(r.Files) != 6 || r.WithoutPath != 1 || r.Truncated || r.Seq != 62 {
			t.Errorf("%+v", r)
		}
		r = files("sort=path&limit=3")
		f := r.Files[0]
		if r.paths() != `C:\Temp\f0 C:\Temp\f1 C:\Temp\f2` || r.Total != 6 || r.NextCursor == nil || f.Reads != 10 || f.BytesRead != 0+6+12+18+24+30+36+42+48+54 || f.FirstSeq != 1 || f.LastSeq != 55 ||
			f.FirstAt != "2026-11-22T18:57:00Z" || len(f.Processes) != 1 || *f.Processes[0].PID != 0 || f.Processes[0].Count != 10 || f.RenamedTo != nil || r.Files[2].RenamedTo == nil || *r.Files[2].RenamedTo != `C:\x` {
			t.Errorf("%+v", r)
		}
		if next := files("sort=path&limit=3&cursor=" + *r.NextCursor); next.paths() != `C:\Temp\f3 C:\Temp\f4 C:\Temp\f5` || next.NextCursor != nil {
			t.Errorf("%+v", next)
		}
		if r := files("sort=bytes_read"); !strings.HasPrefix(r.paths(), `C:\Temp\f3 C:\Temp\f0`) {
			t.Errorf("%+v", r)
		}
		if r := files("q=TEMP%5CF4&filter=" + url.QueryEscape("pid = 0 and seq > 10")); r.paths() != `C:\Temp\f4` || r.Total != 1 || r.Files[0].Writes != 9 {
			t.Errorf("%+v", r)
		}
		// Later events are added.
		b.sendEvents(id, events[:6])
		if r := files("sort=last&limit=1"); r.Seq != 68 || r.paths() != `C:\Temp\f5` || r.Files[0].LastSeq != 68 || r.Files[0].Renames != 11 {
			t.Errorf("%+v", r)
		}
		for query, words := range map[string]string{
			"sort=size": "sort must be one of events, path, ", "limit=0": "limit", "limit=1001": "limit", "cursor=x": "cursor must be", "sort=events&cursor=" + *r.NextCursor: "sorted by events",
			"filter=x%20%3D%201": "filter, column 1", "q=" + strings.Repeat("x", 1001): "q is 1001 bytes long",
		} {
			wantError(t, b.send("GET", "/api/sessions/"+id+"/files?"+query, ""), http.StatusBadRequest, "invalid", words)
		}
		for _, path := range []string{"files", "conversations"} {
			wantError(t, b.send("GET", "/api/sessions/nobody/"+path, ""), http.StatusNotFound, "not_found", "nobody")
		}
		b.mustDelete(id)
		wantError(t, b.send("GET", "/api/sessions/"+id+"/files", ""), http.StatusNotFound, "not_found", id)
	})
}

type rolledConversations struct {
	Conversations []struct {
		ID           string
		Protocol     string
		Names, Hosts []string
		Local        struct {
			Host *string
			Port *int64
		}
		Remote struct {
			Host *string
			Port *int64
		}
		PID          *int64
		Packets      int64
		PacketBytes  int64 `json:"packet_bytes"`
		CallBytes    int64 `json:"call_bytes"`
		SentBytes    int64 `json:"sent_bytes"`
		Calls, Bytes int64
		BytesOf      string `json:"bytes_of"`
		ProcessName  string `json:"process_name"`
		Filter       string
	}
	Total          int
	WithoutAddress int64   `json:"without_address"`
	NextCursor     *string `json:"next_cursor"`
}

func TestConversationsOfASession(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		conversations := func(query string) (r rolledConversations) {
			t.Helper()
			b.decode(b.send("GET", "/api/sessions/"+id+"/conversations?"+query, ""), http.StatusOK, &r)
			return r
		}
		if r := conversations(""); r.Conversations == nil || r.Total != 0 {
			t.Errorf("%+v", r)
		}
		var packets []string
		for _, p := range []string{
			`{"protocol":"DNS","src":"10.0.0.1","dst":"10.0.0.5","src_port":53,"dst_port":4000,"length":90,"info_raw":"Standard query response 0x1 A c2.example A 192.0.2.1"}`,
			`{"protocol":"TCP","src":"10.0.0.5","dst":"192.0.2.1","src_port":49000,"dst_port":443,"length":60}`,
			`{"protocol":"TLSv1.3","src":"192.0.2.1","dst":"10.0.0.5","src_port":443,"dst_port":49000,"length":1400}`,
			`{"protocol":"ARP","src":"","dst":"","src_port":null,"dst_port":null,"length":42}`,
		} {
			packets = append(packets, `{"event_type":"raw_network_operation","data":`+p+`}`)
		}
		b.sendEvents(id, append(packets, `{"event_type":"network_operation","data":{"operation":"Send","protocol":"tcp","src":"10.0.0.5","src_port":49000,"dst":"192.0.2.1","dst_port":443,"bytesTransferred":17,"metadata":{"processId":7,"processName":"a.exe"}}}`))
		r := conversations("")
		if r.Total != 2 || len(r.Conversations) != 2 || r.WithoutAddress != 1 {
			t.Fatalf("%+v", r)
		}
		c := r.Conversations[0]
		if c.Protocol != "tcp" || c.Packets != 2 || c.PacketBytes != 1460 || c.SentBytes != 60 || *c.Local.Host != "10.0.0.5" || *c.Remote.Port != 443 || strings.Join(c.Names, " ") != "tcp TLSv1.3" || strings.Join(c.Hosts, " ") != "c2.example" ||
			*c.PID != 7 || c.ProcessName != "a.exe" || c.Calls != 1 || c.CallBytes != 17 || c.Bytes != 1460 || c.BytesOf != "packets" {
			t.Errorf("%+v", c)
		}
		for _, c := range r.Conversations {
			if list := b.listEvents(id, "count=true&filter="+url.QueryEscape(c.Filter)); *list.Count != c.Packets+c.Calls {
				t.Errorf("%s selects %d events", c.Filter, *list.Count)
			}
		}
		first := conversations("sort=packets&limit=1")
		if second := conversations("sort=packets&limit=2&cursor=" + *first.NextCursor); first.Conversations[0].ID != c.ID || len(second.Conversations) != 1 || second.NextCursor != nil {
			t.Errorf("%+v, then %+v", first, second)
		}
		if r := conversations("filter=" + url.QueryEscape("pid = 7")); r.Total != 1 || strings.Join(r.Conversations[0].Hosts, "") != "c2.example" {
			t.Errorf("%+v", r)
		}
		wantError(t, b.send("GET", "/api/sessions/"+id+"/conversations?sort=path", ""), http.StatusBadRequest, "invalid", "sort must be one of bytes, packets, last")
	})
}
