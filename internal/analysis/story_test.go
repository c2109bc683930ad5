package analysis

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/models"
)

// TestSentences checks that each kind of deed has its sentences, and that they name known
// values.
func TestSentences(t *testing.T) {
	known := " program command path other address name url operation result bytes count pid "
	value := regexp.MustCompile(`\{(\w+)\}`)
	for kind, words := range sentences {
		isPart := strings.HasPrefix(kind, "chain_")
		if words.One == "" || (words.Class == "") != isPart || (words.Many == "") != (isPart || kind == "chain") {
			t.Errorf("%s is %+v", kind, words)
		}
		for _, match := range value.FindAllStringSubmatch(words.One+words.Many, -1) {
			if !strings.Contains(known, " "+match[1]+" ") {
				t.Errorf("%s names {%s}", kind, match[1])
			}
		}
	}
}

// event returns an event for a story.
func event(seq int64, kind, operation, program, target string, pid int64) *models.Event {
	return &models.Event{Seq: seq, EventType: kind, Operation: &operation, ProcessName: &program, Target: &target, PID: &pid, Timestamp: time.Unix(seq, 0)}
}

// TestStoryOfModes checks what the story says of a new mode. A folder cannot become executable.
func TestStoryOfModes(t *testing.T) {
	for _, test := range []struct{ mode, file, want string }{
		{`"0755"`, `"0100755"`, "chmod made /x executable (0755)"},
		{`"0700"`, `"040700"`, "chmod changed the permissions of /x to 0700"},
		{`"0600"`, `"0100600"`, "chmod changed the permissions of /x to 0600"},
		{`"04755"`, `"0104755"`, "chmod made /x run with the rights of its owner or group (04755)"},
		{`"0755"`, "", "chmod changed the permissions of /x to 0755"},
		{"", "", "chmod changed the permissions of /x"},
		{`"none"`, `"0100600"`, "chmod changed the permissions of /x to none"},
	} {
		values := make([][]byte, len(StoryKeys()))
		if values[storyStatus] = []byte("0"); test.mode != "" {
			values[storyMode] = []byte(test.mode)
		}
		if test.file != "" {
			values[storyFileMode] = []byte(test.file)
		}
		s := NewStory(Limits{Groups: 10, Bytes: 1 << 20})
		s.Add(event(1, models.TypeFile, "ChangeMode", "chmod", "/x", 1), values)
		var got string
		for _, part := range s.Tell(nil).Steps[0].Parts {
			got += part.Text
		}
		if got != test.want {
			t.Errorf("mode %s of %s: %q, want %q", test.mode, test.file, got, test.want)
		}
	}
}

// TestStoryOfConnections checks what the story says of a connection that the call did not wait
// for: later events tell what became of it.
func TestStoryOfConnections(t *testing.T) {
	const begun, again, made, refused, timedOut, later, sent = `Connect -115 EINPROGRESS`, `Connect -114 EALREADY`, `Connect -106 EISCONN`, `Connect -111 ECONNREFUSED`, `Receive -110 ETIMEDOUT`, `Receive -11 EAGAIN`, `Send 5 `
	const accepted, reset, own, ack = "packet in SYN, ACK", "packet in RST, ACK", "packet out RST", "packet in ACK"
	const isOpen, isClosed, noAnswer = "a connected to 192.0.2.1:80", "a could not connect to 192.0.2.1:80: refused", "a began to connect to 192.0.2.1:80: no answer yet"
	for _, test := range []struct {
		calls []string
		want  string
	}{
		{[]string{begun}, noAnswer},
		{[]string{begun, again, later}, noAnswer},
		{[]string{begun, made}, isOpen},
		{[]string{begun, sent}, isOpen},
		{[]string{begun, sent, later}, isOpen},
		{[]string{begun, refused}, isClosed},
		{[]string{begun, timedOut}, "a could not connect to 192.0.2.1:80: no answer"},
		{[]string{begun, sent, timedOut}, isOpen},
		{[]string{refused}, isClosed},
		{[]string{refused, begun}, isClosed + "; " + noAnswer},
		{[]string{begun, accepted}, isOpen},
		{[]string{begun, reset}, isClosed},
		{[]string{begun, accepted, reset}, isOpen},
		{[]string{begun, own, ack}, noAnswer},
		{[]string{accepted, reset}, ""},
		{[]string{later}, ""},
		{[]string{sent}, ""},
	} {
		s := NewStory(Limits{Groups: 10, Bytes: 1 << 20})
		for i, call := range test.calls {
			words := strings.SplitN(call, " ", 3)
			if words[0] == "packet" {
				ends := map[string]string{"in": `"src":"192.0.2.1","src_port":80,"dst":"10.0.0.2","dst_port":4000`, "out": `"src":"10.0.0.2","src_port":4000,"dst":"192.0.2.1","dst_port":80`}[words[1]]
				s.Add(event(int64(i+1), models.TypePacket, "", "a", "192.0.2.1", 7), StoryValues([]byte(fmt.Sprintf(`{%s,"tcpFlags":%q}`, ends, words[2]))))
				continue
			}
			data := fmt.Sprintf(`{"protocol":"tcp","dst":"192.0.2.1","dst_port":80,"status":%s,"error":%q}`, words[1], words[2])
			s.Add(event(int64(i+1), models.TypeNetwork, words[0], "a", "192.0.2.1", 7), StoryValues([]byte(data)))
		}
		var lines []string
		for _, step := range s.Tell(nil).Steps {
			line := ""
			for _, part := range step.Parts {
				line += part.Text
			}
			lines = append(lines, line)
		}
		if got := strings.Join(lines, "; "); got != test.want {
			t.Errorf("%v: %q, want %q", test.calls, got, test.want)
		}
	}
}

// TestRuleSentences checks when the sentence of a rule is told: for one deed that was done. It
// is that of the most severe rule.
func TestRuleSentences(t *testing.T) {
	file := func(seq int64, operation, data string) models.Event {
		e := event(seq, models.TypeFile, operation, "cat", "/etc/shadow", 1)
		e.Data = models.JSON(data)
		return *e
	}
	opened := func(seq int64, data string) models.Event { return file(seq, "OpenFile", data) }
	call := *event(1, "process_operation", "PtraceProcess", "gdb", "", 1)
	for _, test := range []struct {
		events   []models.Event
		sentence string
		want     string
	}{
		{[]models.Event{opened(1, `{"status":3}`)}, "{program} read the password hashes: {path}", "cat read the password hashes: /etc/shadow"},
		{[]models.Event{opened(1, `{"status":3}`)}, "", "cat opened /etc/shadow"},
		{[]models.Event{opened(1, `{"status":-13,"error":"EACCES"}`)}, "{program} read {path}", "cat tried /etc/shadow: permission denied"},
		{[]models.Event{opened(1, `{"status":-2,"error":"ENOENT"}`)}, "{program} read {path}", "cat tried /etc/shadow: it does not exist"},
		{[]models.Event{opened(1, `{"status":3}`), file(2, "ReadFile", `{"status":5,"bytesTransferred":5}`)}, "{program} read it: {path}", "cat read it: /etc/shadow"},
		{[]models.Event{call}, "{program} took control of {path}{other}{operation}", "gdb took control of PtraceProcess"},
	} {
		s := NewStory(Limits{Groups: 10, Bytes: 1 << 20})
		var seqs []int64
		for i := range test.events {
			s.Add(&test.events[i], StoryValues(test.events[i].Data))
			seqs = append(seqs, test.events[i].Seq)
		}
		told := s.Tell([]Finding{{Level: "high", Sentence: test.sentence, Seqs: seqs, Events: test.events}, {Level: "low", Sentence: "another", Seqs: seqs}})
		var got string
		for _, step := range told.Steps { // another line tells what a program read
			for _, part := range step.Parts {
				if len(step.Findings) > 0 {
					got += part.Text
				}
			}
		}
		if got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestStoryOfAnyEvents checks that a story of hostile events is bounded, that each of its
// steps has events, and that its values are values: no text of an event is a word of a
// sentence.
func TestStoryOfAnyEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.SampledFrom([]string{"/a", "/b/c", "", "{program}", "pipe:[1]", `C:\x`, "\xff", "HOSTILE"}), rapid.String())
		value := rapid.SampledFrom([]string{"", "1", "-13", `"HOSTILE"`, `"/a"`, "null", "[]", `[{"questions":[{"name":"HOSTILE"}],"response":true}]`, `{"method":"GET","url":"http://HOSTILE/"}`, `{"status_code":200,"body":{"size":5}}`, "true", `"O_CREAT"`, `{"HOME":"/a"}`})
		s := NewStory(Limits{Groups: 20, Bytes: 1 << 16})
		count := int64(0)
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			count++
			operation := rapid.SampledFrom([]string{"ReadFile", "WriteFile", "OpenFile", "DeleteFile", "RenameFile", "SymlinkFile", "ChangeMode", "CreateDirectory", "Connect", "Send", "Receive", "Listen", "Accept", "execve", "LoadModule", "SetValueKey"}).Draw(t, "operation")
			e := event(count, rapid.SampledFrom(StoryTypes()).Draw(t, "type"), operation, word.Draw(t, "program"), word.Draw(t, "target"), rapid.Int64Range(0, 3).Draw(t, "pid"))
			values := make([][]byte, len(StoryKeys()))
			for i := range values {
				if text := value.Draw(t, "value"); text != "" {
					values[i] = []byte(text)
				}
			}
			s.Add(e, values)
		}
		told := s.Tell([]Finding{{Level: "high", Sentence: "{program} did {path} {other} ({result})", Seqs: []int64{1, 2, 99}, Tags: []string{"attack.persistence"}, Events: []models.Event{*event(1, "other", "HOSTILE", "p", "t", 1)}}})
		if len(s.deeds) > 20 || len(told.Steps) > 20+1 {
			t.Fatalf("%d deeds, %d steps", len(s.deeds), len(told.Steps))
		}
		for _, step := range told.Steps {
			if len(step.Parts) == 0 || len(step.Seqs) == 0 || step.FirstSeq < 1 || step.LastSeq > count && step.LastSeq != 1 {
				t.Fatalf("the step %+v", step)
			}
			for _, part := range step.Parts {
				if part.As == "" && strings.Contains(part.Text, "HOSTILE") {
					t.Fatalf("a word of a sentence is %q", part.Text)
				}
			}
		}
	})
}

// TestStoryIsOrdered checks that a step has the time of its first event, that many deeds of a
// kind are one step, and that ordinary steps go first when there are too many.
func TestStoryIsOrdered(t *testing.T) {
	s := NewStory(Limits{Groups: 10_000, Bytes: 8 << 20})
	none := make([][]byte, len(StoryKeys()))
	for i := range int64(2 * maxSteps) {
		s.Add(event(i+1, models.TypeFile, "DeleteFile", fmt.Sprint("program ", i/alone), fmt.Sprint("/files/", i), 1), none)
	}
	for i := range int64(10) {
		s.Add(event(10_000+i, models.TypeFile, "DeleteFile", "cleaner", fmt.Sprint("/var/log/", i), 2), none)
	}
	told := s.Tell([]Finding{{Level: "high", Seqs: []int64{10_000, 10_001, 10_002, 10_003, 10_004}}})
	last := told.Steps[len(told.Steps)-1]
	if len(told.Steps) != maxSteps || told.Ordinary != 2*maxSteps+1 || last.Objects != 5 || last.Ordinary || len(last.Findings) != 1 {
		t.Errorf("%d steps, %d ordinary, the last is %+v", len(told.Steps), told.Ordinary, last)
	}
	if text := last.Parts[len(last.Parts)-1]; text != (Part{"/var/log", "path"}) {
		t.Errorf("the folder is %+v", text)
	}
	for i := 1; i < len(told.Steps); i++ {
		if told.Steps[i].FirstSeq < told.Steps[i-1].FirstSeq {
			t.Fatalf("step %d is before step %d", i, i-1)
		}
	}
}

// TestFailed checks which events count as failed.
func TestFailed(t *testing.T) {
	for data, want := range map[string]bool{
		`{"status":-13,"error":"EACCES"}`:       true,
		`{"status":-1}`:                         true,
		`{"status":-1073741790}`:                true, // STATUS_ACCESS_DENIED
		`{"status":-111,"error":"EAGAIN"}`:      true,
		`{"error":"EACCES"}`:                    false,
		`{"status":0}`:                          false,
		`{"status":3}`:                          false, // a descriptor
		`{"status":"x"}`:                        false,
		`{"status":null}`:                       false,
		`{"response":{"status":-1}}`:            false,
		`{"status":-115,"error":"EINPROGRESS"}`: false,
		`{"status":-115}`:                       false,
		`{"status":-114,"error":"EALREADY"}`:    false,
		`{"status":-106,"error":"EISCONN"}`:     false,
		`{}`:                                    false,
		``:                                      false,
	} {
		if got := Failed(&models.Event{Data: models.JSON(data)}); got != want {
			t.Errorf("%s: %t", data, got)
		}
	}
}
