package agentclient

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"ospulse/internal/models"
)

func TestUploadOnTheWire(t *testing.T) {
	for name, want := range map[string]string{
		"a.exe":              `form-data; name="file"; filename="a.exe"`,
		`My "Tool" (v2).exe`: `form-data; name="file"; filename="My \"Tool\" (v2).exe"`,
		`C:\a.exe`:           `form-data; name="file"; filename="C:\\a.exe"`,
		"a\r\nX-Evil: 1":     `form-data; name="file"; filename="a%0D%0AX-Evil: 1"`,
		"größe 文件.exe":       `form-data; name="file"; filename="größe 文件.exe"`,
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.Repeat("\x00\xff--\r\n", 100_000)
			var disposition, body string
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/upload-file": func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength <= int64(len(file)) || len(r.TransferEncoding) > 0 {
					t.Errorf("length %d, encoding %v", r.ContentLength, r.TransferEncoding)
				}
				form, err := r.MultipartReader()
				if err != nil {
					t.Error(err)
					return
				}
				part, err := form.NextRawPart()
				if err != nil {
					t.Error(err)
					return
				}
				disposition = part.Header.Get("Content-Disposition")
				text, _ := io.ReadAll(part)
				body = string(text)
				if _, err := form.NextRawPart(); err != io.EOF {
					t.Errorf("after the file: %v", err)
				}
				saysJSON(200, `{}`)(w, r)
			}})
			got, err := New(a.URL, patience).Upload(t.Context(), File{Name: name, SizeBytes: int64(len(file)), Open: fileOf(file)})
			if err != nil || got != name {
				t.Errorf("got %q, %v", got, err)
			}
			if disposition != want {
				t.Errorf("got  %s\nwant %s", disposition, want)
			}
			if body != file {
				t.Error("the file came through changed")
			}
		})
	}
}

func TestUploadAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
		err    string
	}{
		"renamed":                   {200, `{"message":"m","filename":"My_Tool_v2.exe","path":"/up/x.exe"}`, "My_Tool_v2.exe", ""},
		"only a path":               {201, `{"path":"/var/up/My_Tool.exe"}`, "My_Tool.exe", ""},
		"only a Windows path":       {200, `{"path":"C:\\up\\My_Tool.exe"}`, "My_Tool.exe", ""},
		"a bare path":               {200, `{"filename":"","path":"x.exe"}`, "x.exe", ""},
		"a path that ends in slash": {200, `{"path":"/var/up/"}`, "sent.exe", ""},
		"neither":                   {200, `{"message":"m"}`, "sent.exe", ""},
		"wrong types":               {200, `{"filename":1,"path":["x"]}`, "sent.exe", ""},
		"no JSON":                   {200, `ok`, "sent.exe", ""},
		"a name no database takes":  {200, `{"filename":"a\u0000"}`, "", "gave the file a name that cannot be used"},
		"a name too long":           {200, `{"filename":"` + strings.Repeat("a", 1025) + `"}`, "", "gave the file a name that cannot be used"},
		"refused":                   {400, `{"error":"No file part"}`, "", "the agent refused to take the file: No file part"},
		"too large":                 {413, `<h1>Request Entity Too Large</h1>`, "", "the agent refused to take the file: the file is too large for the agent"},
		"too large, with the limit": {413, `{"error":"limit is 50 MB"}`, "", "the agent refused to take the file: the file is too large for the agent: limit is 50 MB"},
		"fails with a page":         {500, `<title>500</title><p>disk full`, "", "the agent refused to take the file: 500 disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/upload-file": says(test.status, "text/html", test.body)})
			got, err := New(a.URL, patience).Upload(t.Context(), File{Name: "sent.exe", SizeBytes: 1, Open: fileOf("x")})
			if test.err != "" {
				wantError(t, err, models.CodeAgentFailed, test.err)
			} else if err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// closeCounter counts the files that are open.
type closeCounter struct {
	io.Reader
	open *int
}

func (f closeCounter) Close() error {
	*f.open--
	return nil
}

func TestUploadReleasesEveryFile(t *testing.T) {
	big := int64(50 << 20)
	for name, test := range map[string]struct {
		routes     map[string]http.HandlerFunc
		wantOpened int
	}{
		"second spelling": {map[string]http.HandlerFunc{"POST /api/upload": saysJSON(200, `{}`)}, 2},
		"refused unread":  {map[string]http.HandlerFunc{"POST /api/upload-file": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(413) }}, 1},
		"refused in between": {map[string]http.HandlerFunc{"POST /api/upload-file": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			w.WriteHeader(413)
		}}, 1},
		"cut off": {map[string]http.HandlerFunc{"POST /api/upload-file": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			panic(http.ErrAbortHandler)
		}}, 1},
		"nowhere": {nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			open, opened := 0, 0
			a := newAgent(t, test.routes)
			_, err := New(a.URL, patience).Upload(t.Context(), File{Name: "a.exe", SizeBytes: big, Open: func() (io.ReadCloser, error) {
				if open > 0 {
					t.Error("two files are open at once")
				}
				open++
				opened++
				return closeCounter{io.LimitReader(zero{}, big), &open}, nil
			}})
			if (err == nil) != (name == "second spelling") {
				t.Errorf("got %v", err)
			}
			if open != 0 || opened != test.wantOpened {
				t.Errorf("%d opened, %d left open", opened, open)
			}
		})
	}
}

func TestUploadOfAFileThatCannotBeRead(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, test := range map[string]struct {
		open func() (io.ReadCloser, error)
		want error
	}{
		"does not open": {func() (io.ReadCloser, error) { return nil, broken }, broken},
		"breaks off": {func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 500)), iotest.ErrReader(broken))), nil
		}, broken},
		"is shorter than told": {zeros(999_999), errSizeChanged},
		"is longer than told":  {zeros(1_000_001), errSizeChanged},
		"is empty":             {zeros(0), errSizeChanged},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/upload-file": saysJSON(200, `{}`)})
			_, err := New(a.URL, patience).Upload(t.Context(), File{Name: "a.exe", SizeBytes: 1_000_000, Open: test.open})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			if code := models.ErrorCode(err); code != models.CodeInternal {
				t.Errorf("the agent is blamed: %s", code)
			}
		})
	}
}
