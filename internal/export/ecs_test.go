package export_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// ecsTypes are the values of event.type that ECS 8.17 expects for each category
// (https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category).
var ecsTypes = map[string][]string{ //nolint:gochecknoglobals // a constant
	"driver":   {"change", "end", "info", "start"},
	"file":     {"access", "change", "creation", "deletion", "info"},
	"network":  {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
	"process":  {"access", "change", "end", "info", "start"},
	"registry": {"access", "change", "creation", "deletion"},
	"session":  {"start", "end", "info"},
	"web":      {"access", "error", "info"},
}

// ecsField is a field of the schema.
type ecsField struct {
	kind    string
	allowed []string
}

func readECSFields(t *testing.T) map[string]ecsField {
	t.Helper()
	text, err := os.ReadFile("testdata/ecs-8.17-fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]ecsField{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			fields[words[0]] = ecsField{words[1], words[2:]}
		}
	}
	return fields
}

// checkECS checks that Elasticsearch would accept a line with the schema's mapping, and
// that the schema allows the categorisation of its event.
func checkECS(t *testing.T, fields map[string]ecsField, line []byte) {
	t.Helper()
	if twice := keyTwice(json.NewDecoder(bytes.NewReader(line))); twice != "" {
		t.Errorf("the key %s is there twice in %s", twice, line)
	}
	var document map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	delete(document, "ospulse")
	var check func(name string, value any)
	check = func(name string, value any) {
		field, ok := fields[name]
		if object, isObject := value.(map[string]any); isObject && field.kind != "object" {
			for key, member := range object {
				check(strings.TrimPrefix(name+"."+key, "."), member)
			}
			return
		}
		if list, isList := value.([]any); isList && (strings.HasSuffix(field.kind, "[]") || name == "dns.answers") {
			for _, element := range list {
				if name == "dns.answers" {
					check(name, element)
				} else {
					checkECSValue(t, name, field, element)
				}
			}
			return
		}
		if !ok {
			t.Errorf("the schema has no field %s (%v)", name, value)
			return
		}
		checkECSValue(t, name, field, value)
	}
	check("", document)

	event := document["event"].(map[string]any)
	categories, _ := event["category"].([]any)
	types, _ := event["type"].([]any)
	for _, eventType := range types {
		if !slices.ContainsFunc(categories, func(category any) bool { return slices.Contains(ecsTypes[category.(string)], eventType.(string)) }) {
			t.Errorf("type %v is none of the categories %v", eventType, categories)
		}
	}
	if (len(categories) == 0) != (len(types) == 0) {
		t.Errorf("categories %v, types %v", categories, types)
	}
}

func checkECSValue(t *testing.T, name string, field ecsField, value any) {
	t.Helper()
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	switch strings.TrimSuffix(field.kind, "[]") {
	case "long":
		if _, err := number.Int64(); !isNumber || err != nil {
			t.Errorf("%s must be a whole number, not %v", name, value)
		}
	case "ip":
		if address, err := netip.ParseAddr(text); err != nil || address.Zone() != "" {
			t.Errorf("%s must be an address, not %v", name, value)
		}
	case "date":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			t.Errorf("%s must be a date, not %v", name, value)
		}
	case "object":
	default:
		if !isText {
			t.Errorf("%s must be a text, not %v", name, value)
		}
	}
	if len(field.allowed) > 0 && !slices.Contains(field.allowed, text) {
		t.Errorf("%s must be one of %v, not %v", name, field.allowed, value)
	}
}

// keyTwice returns a duplicate key of an object at any depth, or "".
func keyTwice(decoder *json.Decoder) string {
	token, err := decoder.Token()
	if err != nil {
		return ""
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for decoder.More() {
			key, _ := decoder.Token()
			if seen[fmt.Sprint(key)] {
				return fmt.Sprint(key)
			}
			seen[fmt.Sprint(key)] = true
			if twice := keyTwice(decoder); twice != "" {
				return twice
			}
		}
		_, _ = decoder.Token()
	case json.Delim('['):
		for decoder.More() {
			if twice := keyTwice(decoder); twice != "" {
				return twice
			}
		}
		_, _ = decoder.Token()
	}
	return ""
}

const (
	byAgent = `"timestamp":"2026-11-28T12:00:00Z","source":"os-pulse-agent"`
	actor   = `"metadata":{"processName":"a","processId":7,"processStartTime":"2026-11-28T11:00:00.5Z","parentProcessId":1,"threadId":8,"userId":1000,"cgroupId":5,"containerId":"c0ffee"}`
)

// ecsEvents are events of all types, in the shapes of the contract's clients and of our
// agent, and the members that their documents must have.
var ecsEvents = map[string]struct{ eventType, data, want string }{ //nolint:gochecknoglobals // a constant
	"connect": {"network_operation", `{"operation":"Connect","protocol":"tcp","src":"10.0.0.5","src_port":50000,"dst":"192.0.2.7","dst_port":443,"status":0,` + actor + `}`,
		`{"event":{"category":["network"],"type":["connection","start"],"action":"Connect","outcome":"success"},"source":{"address":"10.0.0.5","ip":"10.0.0.5","port":50000},"destination":{"ip":"192.0.2.7","port":443},"network":{"transport":"tcp","type":"ipv4","direction":"egress"},"host":{"os":{"type":"linux"}},"user":{"id":"1000"},"container":{"id":"c0ffee"},"process":{"pid":7,"name":"a","start":"2026-11-28T11:00:00.500000Z","entity_id":"s/7/2026-11-28T11:00:00.500000Z","thread":{"id":8},"parent":{"pid":1}}}`},
	"connect that goes on": {"network_operation", `{"operation":"Connect","protocol":"tcp","dst":"192.0.2.7","dst_port":443,"status":-115,"error":"EINPROGRESS"}`, `{"event":{"type":["connection","start"],"outcome":"unknown"}}`},
	"connect that failed":  {"network_operation", `{"operation":"Connect","protocol":"tcp","dst":"fe80::1%eth0","dst_port":443,"status":-111}`, `{"event":{"category":["network"],"type":["info"],"outcome":"failure"},"destination":{"address":"fe80::1%eth0","ip":"fe80::1"},"network":{"type":"ipv6"}}`},
	"accept":               {"network_operation", `{"operation":"Accept","protocol":"tcp","src":"10.0.0.5","src_port":80,"dst":"192.0.2.7","dst_port":50000,"status":0}`, `{"event":{"type":["connection","start"]},"source":{"ip":"192.0.2.7","port":50000},"destination":{"ip":"10.0.0.5","port":80},"network":{"direction":"ingress"}}`},
	"send":                 {"network_operation", `{"operation":"Send","protocol":"udp","src":"::1","src_port":5,"dst":"::1","dst_port":6,"bytesTransferred":12.0,"status":0}`, `{"event":{"type":["connection"]},"source":{"bytes":12},"network":{"bytes":12,"transport":"udp"}}`},
	"receive":              {"network_operation", `{"operation":"Receive","protocol":"tcp","src":"10.0.0.5","src_port":5,"dst":"10.0.0.6","dst_port":6,"bytesTransferred":3,"status":0}`, `{"source":{"ip":"10.0.0.6","bytes":3},"destination":{"ip":"10.0.0.5"}}`},
	"unix socket":          {"network_operation", `{"operation":"Connect","protocol":"unix","dst":"/run/x.sock","status":0}`, `{"destination":{"address":"/run/x.sock"},"network":{"protocol":"unix"}}`},
	"listen":               {"network_operation", `{"operation":"Listen","protocol":"tcp","src":"0.0.0.0","src_port":4444,"status":0}`, `{"event":{"type":["info"]},"source":{"port":4444}}`},
	"close":                {"network_operation", `{"operation":"Close","protocol":"tcp","src":"10.0.0.5","src_port":5,"status":0}`, `{"event":{"type":["connection","end"]}}`},
	"no port":              {"network_operation", `{"operation":"Connect","dst":"10.0.0.1","dst_port":99999999,"status":0}`, `{"destination":{"ip":"10.0.0.1","port":null}}`},
	"DNS query": {"network_operation", `{"operation":"Send","protocol":"udp","dst":"10.0.0.1","dst_port":53,"bytesTransferred":30,"dns":[{"id":9,"response":false,"questions":[{"name":"example.com","type":"AAAA"}]}],"status":0}`,
		`{"event":{"category":["network"],"type":["connection","protocol"]},"dns":{"type":"query","id":"9","question":{"name":"example.com","type":"AAAA"}},"network":{"protocol":"dns","transport":"udp"}}`},
	"DNS answer": {"network_operation", `{"operation":"Receive","protocol":"udp","dst":"10.0.0.1","dst_port":53,"dns":[{"id":9,"response":true,"code":"NOERROR","questions":[{"name":"example.com","type":"A"}],"answers":[{"name":"example.com","type":"A","data":"192.0.2.1","ttl":60},{"name":"example.com","type":"TXT","data":"x","ttl":60}]}],"status":0}`,
		`{"dns":{"type":"answer","response_code":"NOERROR","question":{"name":"example.com"},"resolved_ip":["192.0.2.1"]}}`},
	"DNS packet of the forwarder": {"raw_network_operation", `{"protocol":"DNS","src":"10.0.0.1","src_port":53,"dst":"10.0.0.5","dst_port":4000,"length":90,"info_raw":"Standard query response 0x0010 A example.com CNAME example.net A 192.0.2.1 A 192.0.2.2"}`,
		`{"event":{"type":["connection","protocol"]},"dns":{"type":"answer","question":{"name":"example.com","type":"A"},"resolved_ip":["192.0.2.1","192.0.2.2"]},"network":{"protocol":"dns"}}`},
	"DNS error of the forwarder": {"raw_network_operation", `{"protocol":"DNS","src":"10.0.0.1","dst":"10.0.0.5","length":90,"info_raw":"Standard query response 0x0010 No such name AAAA nowhere.test SOA a.test"}`, `{"dns":{"type":"answer","question":{"name":"nowhere.test","type":"AAAA"},"resolved_ip":null}}`},
	"DNS packet cut off":         {"raw_network_operation", `{"protocol":"DNS","info_raw":"Standard query "}`, `{"dns":{"type":"query"}}`},
	"TLS packet": {"raw_network_operation", `{"timestamp":1.000001,"frame_number":1,"protocol":"TLSv1.3","src":"10.0.0.5","dst":"192.0.2.1","src_port":5,"dst_port":443,"length":600,"info":"","info_raw":"Client Hello","direction":"out","interface":"eth0","tcpFlags":"PSH, ACK","tcpSequence":1,"tlsServerName":"example.com",` + actor + `}`,
		`{"tls":{"client":{"server_name":"example.com"}},"destination":{"domain":"example.com","ip":"192.0.2.1"},"network":{"transport":"tcp","protocol":"tlsv1.3","direction":"egress","bytes":600}}`},
	"exit":           {"process_exit", `{"operation":"exit","exitCode":3,"status":0,` + actor + `}`, `{"event":{"category":["process"],"type":["end"],"outcome":null},"process":{"pid":7,"exit_code":3,"end":"2026-11-28T12:00:00Z"}}`},
	"exit of zero":   {"process_exit", `{"operation":"exit","exitCode":0.0,` + actor + `}`, `{"process":{"exit_code":0}}`},
	"killed":         {"process_exit", `{"operation":"exit","signal":11,"signalName":"SIGSEGV","coreDumped":true,"status":0,` + actor + `}`, `{"event":{"type":["end"]},"message":"ended by SIGSEGV","process":{"exit_code":null}}`},
	"exit of nobody": {"process_exit", `{"operation":"exit","exitCode":3}`, `{"event":{"type":["end"]}}`},
	"fork": {"process_fork", `{"operation":"clone","newProcessId":9,"newProcessStartTime":"2026-11-28T12:00:00Z","status":0,"returnValue":9,` + actor + `}`,
		`{"event":{"category":["process"],"type":["start"]},"process":{"pid":9,"name":"a","start":"2026-11-28T12:00:00Z","entity_id":"s/9/2026-11-28T12:00:00Z","parent":{"pid":7,"entity_id":"s/7/2026-11-28T11:00:00.500000Z"}}}`},
	"fork that failed": {"process_fork", `{"operation":"clone","status":-11,` + actor + `}`, `{"event":{"type":["info"],"outcome":"failure"}}`},
	"thread":           {"thread_creation", `{"operation":"clone3","newThreadId":99,"status":0,` + actor + `}`, `{"event":{"category":["process"],"type":["info"]},"process":{"pid":7,"thread":{"id":99}}}`},
	"exec": {"process_creation", `{"operation":"execve","imagePath":"/bin/su","commandLine":"su -","arguments":["su","-"],"currentDirectory":"/","newProcessId":9,"newProcessStartTime":"2026-11-28T12:00:00Z","newUserId":1000,"newUserName":"anna","effectiveUserId":0,"status":0,` + actor + `}`,
		`{"event":{"category":["process"],"type":["start"],"outcome":"success"},"process":{"pid":9,"name":"su","executable":"/bin/su","args":["su","-"],"args_count":2,"working_directory":"/","parent":{"pid":7,"name":"a"}},"user":{"id":"1000","name":"anna","effective":{"id":"0"}}}`},
	"exec that failed":     {"process_creation", `{"operation":"execve","imagePath":"/bin/x","status":-2,` + actor + `}`, `{"event":{"type":["info"],"outcome":"failure"},"process":{"executable":"/bin/x"}}`},
	"attempt of an exec":   {"process_operation", `{"operation":"execve","filePath":"/bin/x","status":-2,` + actor + `}`, `{"event":{"category":["process"],"type":["info"],"outcome":"failure"},"process":{"pid":7}}`},
	"another user":         {"process_operation", `{"operation":"SetUserId","arguments":[0],"status":0,` + actor + `}`, `{"event":{"category":["process"],"type":["change"]}}`},
	"ptrace":               {"process_operation", `{"operation":"PtraceProcess","targetProcessId":5,"status":0,` + actor + `}`, `{"event":{"type":["access"]}}`},
	"module":               {"process_operation", `{"operation":"LoadModule","filePath":"x.ko","status":0,` + actor + `}`, `{"event":{"category":["driver"],"type":["start"]}}`},
	"module, refused":      {"process_operation", `{"operation":"LoadModule","status":-1,` + actor + `}`, `{"event":{"category":["driver"],"type":["info"],"outcome":"failure"}}`},
	"memory file":          {"process_operation", `{"operation":"CreateMemoryFile","filePath":"x","status":0,` + actor + `}`, `{"event":{"type":["info"]}}`},
	"deletion":             {"file_operation", `{"operation":"DeleteFile","filePath":"/etc/x.conf","status":0,` + actor + `}`, `{"event":{"category":["file"],"type":["deletion"],"outcome":"success"},"file":{"path":"/etc/x.conf","name":"x.conf","directory":"/etc","extension":"conf"}}`},
	"deletion that failed": {"file_operation", `{"operation":"DeleteFile","filePath":"/etc/x","status":-13,"error":"EACCES",` + actor + `}`, `{"event":{"category":["file"],"type":["info"],"outcome":"failure"}}`},
	"deletion, NTSTATUS":   {"file_operation", `{"operation":"NtDeleteFile","filePath":"C:\\x","status":-1073741790.0}`, `{"event":{"type":["info"],"outcome":"failure"},"file":{"directory":"C:\\"}}`},
	"mode":                 {"file_operation", `{"operation":"ChangeMode","filePath":"/x","fileMode":"0755","inode":12,"deviceId":"8:1","status":0}`, `{"event":{"type":["change"]},"file":{"mode":"0755","inode":"12","device":"8:1","directory":"/"}}`},
	"owner":                {"file_operation", `{"operation":"ChangeOwner","filePath":"/x","status":0}`, `{"event":{"type":["change"]}}`},
	"read of a link":       {"file_operation", `{"operation":"ReadLink","filePath":"/x","status":0}`, `{"event":{"type":["access"]}}`},
	"link":                 {"file_operation", `{"operation":"SymlinkFile","filePath":"/x","linkTarget":"/y","status":0}`, `{"event":{"type":["creation"]},"file":{"target_path":"/y"}}`},
	"open":                 {"file_operation", `{"operation":"OpenFile","filePath":"/x","flags":"O_RDONLY|O_CLOEXEC","status":0}`, `{"event":{"type":["access"]}}`},
	"open to create":       {"file_operation", `{"operation":"OpenFile","filePath":"/x","flags":"O_WRONLY|O_CREAT","status":0}`, `{"event":{"type":["creation"]}}`},
	"open to truncate":     {"file_operation", `{"operation":"OpenFile","filePath":"/x","flags":"O_WRONLY|O_TRUNC","status":0}`, `{"event":{"type":["change"]}}`},
	"mapping":              {"file_operation", `{"operation":"CreateFileMappingW","filePath":"C:\\x"}`, `{"event":{"type":["access"]}}`},
	"working directory":    {"file_operation", `{"operation":"ChangeDirectory","filePath":"/x","status":0}`, `{"event":{"type":["access"]}}`},
	"older controller":     {"file_operation", `{"operation":"WriteFile","file_path":"C:\\a.txt","process_info":{"process_name":"n.exe","process_id":1}}`, `{"event":{"type":["change"]},"process":{"pid":1,"name":"n.exe","entity_id":"s/1"}}`},
	"registry":             {"registry_operation", `{"operation":"RegSetValueExW","keyPath":"HKLM\\Software\\x","valueName":"Run","status":0}`, `{"event":{"category":["registry"],"type":["change"]},"registry":{"path":"HKLM\\Software\\x","value":"Run"}}`},
	"registry that failed": {"registry_operation", `{"operation":"NtDeleteKey","status":-1}`, `{"event":{"category":["registry"],"type":["access"],"outcome":"failure"}}`},
	"registry closed":      {"registry_operation", `{"operation":"RegCloseKey"}`, `{"event":{"type":["access"]}}`},
	"session start":        {"session_start", `{"sessionId":"x","processName":"chrome.exe","processId":103,"platform":"windows","arch":"x64"}`, `{"event":{"category":["session"],"type":["start"]},"process":{"pid":103}}`},
	"session end":          {"session_end", `{"sessionId":"x","exitCode":3,"reason":"exited","durationSeconds":1.5}`, `{"event":{"category":["session"],"type":["end"]}}`},
	"losses":               {"events_lost", `{"count":5,"reason":"ring_buffer_overrun"}`, `{"event":{"kind":"pipeline_error"},"message":"ring_buffer_overrun"}`},
	"another type":         {"something new", `{"status":-1,"metadata":[]}`, `{"event":{"kind":"event","category":null,"dataset":"ospulse.something_new","outcome":"failure"}}`},
	"data of no object":    {"process_creation", `[1,{"a":2}]`, `{"event":{"category":["process"],"type":["start"]},"ospulse":{"data":[1,{"a":2}]}}`},
	"HTTP of our agent": {"http_network_operation", `{"timestamp_ms":1,"kind":"response","client":["10.0.0.5",50000],"server":{"ip":["192.0.2.1",443]},"request":{"method":"GET","url":"https://h.test/a","http_version":"HTTP/1.1","headers":{}},"response":{"status_code":200.0,"headers":{},"body":{"size":5e0}},"tls":true,"role":"client",` + actor + `}`,
		`{"event":{"category":["network","web"],"type":["connection","access"],"outcome":"success"},"source":{"ip":"10.0.0.5","port":50000},"destination":{"domain":"h.test","ip":"192.0.2.1","port":443},"network":{"direction":"egress"}}`},
	"HTTP of nonsense": {"http_network_operation", `{"client":[1,2,3],"server":{"ip":["fe80::1%3",99999]},"request":{"method":5,"url":"http://h:99999/%zz","headers":[1]},"response":{"status_code":"x"}}`, `{"destination":{"ip":"fe80::1","port":null}}`},
	"a key twice": {"file_operation", `{"operation":"ReadFile","filePath":"/a","filePath":"/b","x":{"y":1,"z":[{"k":1,"k":{"l":1,"l":2}}],"y":2},"x":{"y":3,"y":4}}`,
		`{"ospulse":{"data":{"filePath":"/b","x":{"y":4}}},"file":{"path":"/b"}}`},
	"keys of nonsense twice": {"x", `{"":1,"":2,"\ud800":1,"\ud801":2,"a":"\u0000","e":[],"o":{},"n":[1,[2,{"a":1,"a":[]}]]}`, `{"ospulse":{"data":{"":2,"e":[],"n":[1,[2,{"a":[]}]]}}}`},
}

// TestECSOfEveryType checks that each type of event is categorised as Elastic's rules
// require, with fields of the schema only.
func TestECSOfEveryType(t *testing.T) {
	fields := readECSFields(t)
	for name, tt := range ecsEvents {
		t.Run(name, func(t *testing.T) {
			line := write(t, "ecs", eventOf(t, 1, `{"event_type":"`+tt.eventType+`",`+byAgent+`,"data":`+tt.data+`}`))
			wantMembers(t, line, tt.want)
			checkECS(t, fields, line)
		})
	}
}

// TestECSOfFixtures checks that every event of real clients becomes a valid document.
func TestECSOfFixtures(t *testing.T) {
	fields := readECSFields(t)
	files, err := filepath.Glob("../../test/testdata/fixtures/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var request struct{ Method, Path, Body string }
			if err := json.Unmarshal(line, &request); err != nil {
				t.Fatal(err)
			}
			var events []models.Incoming
			switch body := []byte(request.Body); {
			case request.Method != "POST":
			case request.Path == "/api/net/events":
				events, _, err = wire.Packets(body, noon)
			case request.Path == "/api/http/events":
				events = make([]models.Incoming, 1)
				events[0], err = wire.HTTPFlow(body, noon)
			default:
				events = make([]models.Incoming, 1)
				events[0], err = wire.Event(body, noon)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				events[i].SessionID, events[i].Seq = "s", int64(i+1)
				checkECS(t, fields, write(t, "ecs", events[i].Event))
				checked++
			}
		}
	}
	if checked < 1000 {
		t.Errorf("%d events are checked", checked)
	}
}

// TestECSOfHostileObjects checks that an object with many duplicate or nested keys
// grows the output by no more than its length.
func TestECSOfHostileObjects(t *testing.T) {
	for name, data := range map[string]string{
		"flat":   "{" + strings.Repeat(`"a":1,"b":2,`, 200_000) + `"c":3}`,
		"nested": strings.Repeat(`{"a":1,"a":`, 850) + `"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat("}", 850),
		"deep":   strings.Repeat(`{"a":1,"a":`, 2000) + "1" + strings.Repeat("}", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			line := write(t, "ecs", eventOf(t, 1, `{"event_type":"x","data":`+data+`}`))
			if len(line) > len(data)+1000 {
				t.Errorf("%d bytes became %d", len(data), len(line))
			}
			if _, err := jsonscan.Check(line); err != nil {
				t.Error(err)
			}
		})
	}
}
