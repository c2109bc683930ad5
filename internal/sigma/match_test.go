package sigma_test

import (
	"strings"
	"testing"
	"time"

	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/sigma"
	"ospulse/internal/wire"
)

// rule returns the text of a rule with a log source and a detection. Lines of the detection
// are separated by " ; ", and a tab indents.
func rule(source, detection string) string {
	indented := "  " + strings.ReplaceAll(strings.ReplaceAll(detection, " ; ", "\n  "), "\t", "  ")
	if !strings.Contains(indented, "condition:") {
		indented += "\n  condition: s"
	}
	return "title: a rule\nlogsource: {" + source + "}\ndetection:\n" + indented + "\n"
}

func compile(t testing.TB, text string) *sigma.Compiled {
	t.Helper()
	r, err := sigma.Placeholders(nil).Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	compiled, err := r.Compile()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return compiled
}

func received(t testing.TB, body string) *models.Event {
	t.Helper()
	in, err := wire.Event([]byte(body), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err, body)
	}
	return &in.Event
}

// firesOn reports whether a rule matches the last of some events of a session.
func firesOn(t testing.TB, text string, events ...string) bool {
	t.Helper()
	compiled := compile(t, text)
	if !compiled.CanRun() {
		t.Fatalf("the rule cannot run, it needs %v\n%s", compiled.Needs, text)
	}
	session := detect.New([]filter.Node{compiled.Where}).NewSession()
	matched := false
	for _, body := range events {
		e := received(t, body)
		matched = len(session.Match(e)) > 0
		if alone := compiled.Where.Match(e); alone != matched {
			t.Errorf("the engine says %v, the condition %v: %s\n%s", matched, alone, compiled.Where, body)
		}
	}
	return matched
}

const (
	linux = `product: linux, category: process_creation`
	all   = `product: ospulse`
)

// created returns the event of a new program that bash started.
func created(image string, arguments ...string) string {
	return `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:39.5Z","source":"os-pulse-agent","data":{"operation":"execve","imagePath":"` + image +
		`","commandLine":"quoted text","arguments":["` + strings.Join(arguments, `","`) + `"],"currentDirectory":"/home/user","newProcessId":7,"newUserId":0,` +
		`"syscall":"execve","status":0,"metadata":{"processName":"bash","processId":6,"userId":1000}}}`
}

// event returns an event of bash with these members of data.
func event(eventType, data string) string {
	return `{"event_type":"` + eventType + `","timestamp":"2026-11-22T18:57:39.5Z","source":"os-pulse-agent","data":{` + data + `,"metadata":{"processName":"bash","processId":6,"userId":0}}}`
}

// TestValues checks wildcards, escapes, kinds of values and every modifier, on a field of
// data that has a value. Text in quotes is that of YAML.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		item, value string // of data.x, as JSON; "" for none
		want        bool
	}{
		{`data.x: abc`, `"ABC"`, true}, {`data.x: abc`, `"abcd"`, false}, {`data.x: abc`, ``, false},
		{`data.x: a*c`, `"a-b-C"`, true}, {`data.x: a?c`, `"abc"`, true}, {`data.x: a?c`, `"ac"`, false}, {`data.x: '*'`, `""`, true}, {`data.x: '*'`, ``, false},
		{`data.x: 'a\*c'`, `"a*c"`, true}, {`data.x: 'a\*c'`, `"abc"`, false}, {`data.x: 'a\?c'`, `"a?c"`, true}, {`data.x: 'a\?c'`, `"abc"`, false},
		{`data.x: 'a\b'`, `"a\\b"`, true}, {`data.x: 'a\\b'`, `"a\\b"`, true}, {`data.x: 'a\\\\b'`, `"a\\\\b"`, true}, {`data.x: 'a\\*'`, `"a\\b"`, true}, {`data.x: 'a\\*'`, `"a*"`, false}, {`data.x: 'a\\\*'`, `"a\\*"`, true}, {`data.x: 'a\\\*'`, `"a\\b"`, false},
		{`data.x: ''`, `""`, true}, {`data.x: ''`, `"a"`, false},
		{`data.x: null`, ``, true}, {`data.x: null`, `null`, true}, {`data.x: null`, `""`, false}, {`data.x:`, ``, true},
		{`data.x: 4444`, `4444`, true}, {`data.x: 4444`, `"4444"`, true}, {`data.x: 4444`, `44440`, false}, {`data.x: '4444'`, `4444`, true}, {`data.x: 4.5`, `4.50`, true}, {`data.x: 0x10`, `"0x10"`, true},
		{`data.x: true`, `true`, true}, {`data.x: 'true'`, `"true"`, true}, {`data.x: true`, `"true"`, true}, {`data.x: true`, `false`, false},
		{`data.x: [a, b, null]`, `"b"`, true}, {`data.x: [a, b, null]`, ``, true}, {`data.x: [a, b]`, `"c"`, false},
		{`data.x|contains: B`, `"abc"`, true}, {`data.x|contains: B`, `"ac"`, false}, {`data.x|contains: '*'`, `"a"`, true}, {`data.x|contains: 44`, `1443`, true}, {`data.x|contains: ''`, `"a"`, true},
		{`data.x|startswith: ab`, `"ABC"`, true}, {`data.x|startswith: bc`, `"abc"`, false}, {`data.x|startswith: ''`, `"a"`, true}, {`data.x|endswith: bc`, `"abc"`, true}, {`data.x|endswith: ab`, `"abc"`, false}, {`data.x|endswith: '\b'`, `"a\\b"`, true},
		{`data.x|contains|all: [a, c]`, `"abc"`, true}, {`data.x|contains|all: [a, d]`, `"abc"`, false}, {`data.x|all|contains: [a, c]`, `"abc"`, true},
		{`data.x|cased: aB`, `"aB"`, true}, {`data.x|cased: aB`, `"ab"`, false}, {`data.x|contains|cased: 'B*d'`, `"aBcde"`, true}, {`data.x|cased|endswith: B`, `"ab"`, false},
		{`data.x|re: 'b+c$'`, `"abbc"`, true}, {`data.x|re: 'b+c$'`, `"aBBc"`, false}, {`data.x|re: '^a.c$'`, `"a\nc"`, false}, {`data.x|re|i: 'B+C'`, `"abbc"`, true}, {`data.x|re|s: '^a.c$'`, `"a\nc"`, true}, {`data.x|re|m: '^c$'`, `"a\nc"`, true}, {`data.x|re|i|m|s: '^B.c$'`, `"a\nb\nc"`, true}, {`data.x|re: '\\'`, `"a\\b"`, true}, {`data.x|re: '^\d+$'`, `17`, true},
		{`data.x|cidr: 10.0.0.0/8`, `"10.200.3.4"`, true}, {`data.x|cidr: 10.0.0.0/8`, `"11.0.0.1"`, false}, {`data.x|cidr: [192.168.0.0/16, 'fc00::/7']`, `"fd00::1"`, true}, {`data.x|cidr: '::1/128'`, `"::1"`, true}, {`data.x|cidr: 10.0.0.0/8`, `"::ffff:10.0.0.1"`, true}, {`data.x|cidr: 10.0.0.0/8`, `"x"`, false},
		{`data.x|base64: 'foo bar'`, `"Zm9vIGJhcg=="`, true}, {`data.x|base64|contains: /bin/sh`, `"echo L2Jpbi9zaA== | base64 -d"`, true},
		{`data.x|base64offset|contains: foobar`, `"Zm9vYmFy"`, true}, {`data.x|base64offset|contains: foobar`, `"eGZvb2Jhcnk="`, true}, {`data.x|base64offset|contains: foobar`, `"eHhmb29iYXJ5"`, true}, {`data.x|base64offset|contains: foobar`, `"Zm9vYmF6"`, false},
		{`data.x|wide|base64offset|contains: ping`, `"cABpAG4AZwA="`, true}, {`data.x|utf16le|base64offset|contains: ping`, `"eHAAaQBuAGcAeA=="`, true}, {`data.x|utf16be|base64: ab`, `"AGEAYg=="`, true}, {`data.x|utf16|base64: ab`, `"//5hAGIA"`, true}, {`data.x|wide: ab`, `"a\u0000b\u0000"`, true},
		{`data.x|windash|contains: ' -f '`, `"x /F y"`, true}, {`data.x|windash|contains: ' -f '`, `"x —f y"`, true}, {`data.x|contains|windash: ' -f '`, `"x -f y"`, true}, {`data.x|windash|contains: ' -f '`, `"x f y"`, false}, {`data.x|windash|contains|all: [' -a', ' -b']`, `"x /a –b"`, true},
		{`data.x|exists: true`, `null`, true}, {`data.x|exists: true`, ``, false}, {`data.x|exists: false`, ``, true}, {`data.x|exists: false`, `""`, false},
		{`data.x|fieldref: data.y`, `"BASH"`, true}, {`data.x|fieldref: data.y`, `"zsh"`, false}, {`data.x|fieldref|startswith: data.y`, `"bash -c"`, true}, {`data.x|fieldref|endswith: data.y`, `"/bin/bash"`, true}, {`data.x|fieldref|contains: data.y`, `"x bash x"`, true}, {`data.x|fieldref|neq: data.y`, `"zsh"`, true}, {`data.x|fieldref: data.missing`, `"a"`, false},
		{`data.x|lt: 5`, `4.9`, true}, {`data.x|lt: 5`, `5`, false}, {`data.x|lte: 5`, `5`, true}, {`data.x|gt: 5`, `5.1`, true}, {`data.x|gte: 5`, `5`, true}, {`data.x|gt: 5`, `"9"`, false}, {`data.x|gt: -5`, `-4`, true},
		{`data.x|neq: a`, `"b"`, true}, {`data.x|neq: a`, `"A"`, false}, {`data.x|neq: [a, b]`, `"b"`, false}, {`data.x|contains|neq: a`, `"bab"`, false},
		{`time|hour: 18`, ``, true}, {`time|hour: 17`, ``, false}, {`time|minute|gt: 56`, ``, true}, {`time|day: 22`, ``, true}, {`time|week: 47`, ``, true}, {`time|month|lte: 11`, ``, true}, {`time|year: [2025, 2026]`, ``, true},
		{`data.x|expand: abc`, `"abc"`, true},
		{`pid: 6`, ``, true}, {`pid: '7'`, ``, false}, {`pid|gte: 6`, ``, true}, {`data.list[1]: b`, ``, true}, {`data["a b"].c: d`, ``, true},
	} {
		data := `"operation":"x","y":"bash","list":["a","b"],"a b":{"c":"d"}`
		if tt.value != "" {
			data += `,"x":` + tt.value
		}
		if got := firesOn(t, rule(all, "s: ; \t"+tt.item), event("t", data)); got != tt.want {
			t.Errorf("%s on %s: %v", tt.item, tt.value, got)
		}
	}
}

// TestConditions checks searches and the conditions over them, on an event whose data has
// "one" and "two" in a, and "three" in b.
func TestConditions(t *testing.T) {
	const yes, no = `{data.a|contains: one}`, `{data.a: none}`
	for _, tt := range []struct {
		detection string
		want      bool
	}{
		{"s: {data.a|contains: one, data.b: three}", true}, {"s: {data.a|contains: one, data.b: two}", false},
		{"s: [{data.a: none}, {data.b: three}]", true}, {"s: [{data.a: none}, {data.b: none}]", false},
		{"s: [one, none]", true}, {"s: [none, nothing]", false}, {"s: two", true}, {"s: 't*ee'", true}, {"s: ; \t'|all': [one, three]", true}, {"s: ; \t'|all': [one, none]", false},
		{"s: [none, {data.b: three}]", true}, {"s: [three, {data.b: none}]", true},
		{"x: " + yes + " ; y: " + no + " ; condition: x and not y", true}, {"x: " + yes + " ; y: " + no + " ; condition: x and y", false}, {"x: " + yes + " ; y: " + no + " ; condition: y or x", true},
		{"x: " + yes + " ; y: " + no + " ; condition: not (x and y)", true}, {"x: " + yes + " ; y: " + no + " ; condition: NOT x OR (not y AND x)", true}, {"x: " + yes + " ; y: " + no + " ; condition: not not x", true},
		{"x: " + yes + " ; y: " + no + " ; condition: x or x and y", true}, {"x: " + yes + " ; y: " + no + " ; condition: (x or x) and y", false},
		{"x_1: " + yes + " ; x_2: " + no + " ; y: " + no + " ; condition: 1 of x_*", true}, {"x_1: " + yes + " ; x_2: " + no + " ; condition: all of x_*", false}, {"x_1: " + yes + " ; x_2: " + yes + " ; y: " + no + " ; condition: all of x_* and not 1 of y*", true},
		{"x: " + yes + " ; y: " + yes + " ; condition: all of them", true}, {"x: " + yes + " ; _y: " + no + " ; condition: all of them", true}, {"x: " + no + " ; y: " + yes + " ; condition: any of them", true},
		{"x: " + yes + " ; y: " + yes + " ; z: " + no + " ; condition: 2 of them", true}, {"x: " + yes + " ; y: " + no + " ; z: " + no + " ; condition: 2 of them", false}, {"a: " + no + " ; x: " + yes + " ; y: " + no + " ; z: " + yes + " ; condition: 2 of them", true},
		{"x: " + no + " ; y: " + yes + " ; condition: [x, y]", true}, {"x: " + no + " ; condition: [x, x]", false},
	} {
		if got := firesOn(t, rule(all, tt.detection), event("t", `"a":"one two","b":"three"`)); got != tt.want {
			t.Errorf("%s: %v", tt.detection, got)
		}
	}
}

// TestFields checks where the events of each log source have its fields, one line for each
// field: with the value in ok the rule matches, with the one in not it does not.
func TestFields(t *testing.T) {
	run := created("/usr/bin/curl", "curl", "-o", "/tmp/a b", "http://x/")
	script := event("process_creation", `"operation":"execve","imagePath":"/usr/bin/dash","filePath":"/tmp/stage","givenPath":"./stage","memoryImage":"memfd:x","arguments":["/bin/sh","./stage"],"status":0,"newProcessId":9`)
	windows := `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:40Z","source":"os-pulse-controller","data":{"imagePath":"C:\\Windows\\System32\\cmd.exe","commandLine":"cmd.exe /c \"del x\"","currentDirectory":"C:\\Temp\\","status":0,"metadata":{"processName":"WINWORD.EXE","processId":101}}}`
	old := `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:40Z","source":"os-pulse-controller","data":{"image_path":"C:\\a.exe","command_line":"a b","current_directory":"C:\\","process_info":{"processName":"cmd.exe","processId":1}}}`
	file := func(operation, more string) string {
		return event("file_operation", `"operation":"`+operation+`","filePath":"/etc/cron.d/x","givenPath":"cron.d/x","syscall":"y","status":0`+more)
	}
	renamed := file("RenameFile", `,"newFilePath":"/etc/new","newGivenPath":"new"`)
	connect := event("network_operation", `"operation":"Connect","protocol":"tcp","src":"10.0.0.2","src_port":1111,"dst":"1.2.3.4","dst_port":4444,"syscall":"connect","status":0`)
	accept := event("network_operation", `"operation":"Accept","protocol":"tcp","src":"10.0.0.2","src_port":22,"dst":"1.2.3.4","dst_port":5555,"syscall":"accept4","status":4`)
	dns := event("raw_network_operation", `"protocol":"DNS","dns":[{"id":1,"response":true,"code":"NOERROR","questions":[{"name":"evil.example","type":"TXT"}],"answers":[{"name":"evil.example","type":"A","data":"6.6.6.6"}]}]`)
	flow := `{"event_type":"http_network_operation","timestamp":"2026-11-22T18:57:40Z","source":"http-interceptor","data":{"kind":"response","client":["10.0.0.2",1],"server":{"ip":["1.2.3.4",80]},"request":{"method":"POST","scheme":"http","host":"c2.example","port":80,"path":"/gate.php?x=1","url":"http://c2.example/gate.php?x=1","headers":{"User-Agent":"Bot/1","Referer":"r","Cookie":"c=1"}},"response":{"status_code":404}}}`
	lower := strings.NewReplacer("User-Agent", "user-agent", "Referer", "referer", "Cookie", "cookie").Replace(flow)
	ended := event("process_exit", `"operation":"exit","exitCode":0`)
	dropped := event("process_creation", `"imagePath":"/usr/bin/a","newProcessId":7,"newUserId":65534,"status":0`)
	named := event("process_creation", `"imagePath":"/usr/bin/a","newProcessId":7,"newUserId":1000,"newUserName":"anna","status":0`)
	traced := event("process_operation", `"operation":"PtraceProcess","targetProcessId":1,"syscall":"ptrace","status":0`)
	const (
		fileEvent, network, audit = `product: linux, category: file_event`, `product: linux, category: network_connection`, `product: linux, service: auditd`
		win                       = `product: windows, category: process_creation`
	)
	for _, tt := range []struct{ source, event, field, ok, not string }{
		{linux, run, "Image|endswith", "/curl", "/dash"},
		{linux, run, "CommandLine", "curl -o /tmp/a b http://x/", "quoted text"},
		{linux, run, "CurrentDirectory|startswith", "/home/", "/root"},
		{linux, run, "User", "root", "nobody"},
		{linux, dropped, "User", "nobody", "root"},
		{linux, named, "User", "anna", "an"},
		{linux, named, "User|startswith", "an", "root"},
		{`category: process_creation`, dropped, "User", "nobody", "root"},
		{linux, dropped, "ParentUser", "root", "nobody"},
		{linux, run, "ProcessId", "7", "6"},
		{linux, run, "ParentProcessId", "6", "7"},
		{linux, run, "ParentImage|endswith", "/bash", "/zsh"},
		{linux, run, "UtcTime|hour", "18", "17"},
		{linux, script, "Image", "/usr/bin/dash", "/usr/bin/bash"},
		{linux, script, "Image|endswith", "/stage", "/stages"},
		{linux, script, "Image", "./stage", "stage"},
		{linux, script, "Image|startswith", "memfd", "memfd:y"},
		{`category: process_creation`, run, "Image|endswith", "/curl", "/dash"},
		{win, windows, "Image|endswith", `\cmd.exe`, `\powershell.exe`},
		{win, windows, "CommandLine|contains", " /c ", " /k "},
		{win, windows, "ParentImage|endswith", `\winword.exe`, `\excel.exe`},
		{win, windows, "CurrentDirectory", `C:\temp\`, `C:\`},
		{win, old, "Image", `c:\a.exe`, `c:\b.exe`},
		{win, old, "CommandLine", "a b", "a"},
		{win, old, "CurrentDirectory", `C:\`, `D:\`},
		{`product: linux, category: process_termination`, ended, "Image|endswith", "/bash", "/sh"},
		{`product: linux, category: process_termination`, ended, "ProcessId", "6", "7"},
		{`product: linux, category: process_access`, traced, "TargetProcessId", "1", "6"},
		{`product: linux, category: process_access`, traced, "SourceImage|endswith", "/bash", "/gdb"},
		{`product: linux, category: process_access`, traced, "SourceProcessId", "6", "1"},
		{fileEvent, file("CreateFile", ""), "TargetFilename|startswith", "/etc/cron.d/", "/etc/cron.daily/"},
		{fileEvent, file("WriteFile", ""), "TargetFilename", "cron.d/x", "x"},
		{fileEvent, file("CreateFile", ""), "Image|endswith", "/bash", "/sh"},
		{fileEvent, file("CreateFile", ""), "User", "root", "nobody"},
		{fileEvent, renamed, "TargetFilename", "/etc/new", "/etc/cron.d/x"},
		{fileEvent, renamed, "TargetFilename", "new", "cron.d/x"},
		{`product: linux, category: file_access`, file("OpenFile", ""), "TargetFilename", "/etc/cron.d/x", "/etc/x"},
		{`product: linux, category: file_access`, file("ReadFile", ""), "FileName", "cron.d/x", "/etc/x"},
		{`product: linux, category: file_change`, file("ChangeMode", ""), "TargetFilename", "/etc/cron.d/x", "/etc/x"},
		{`product: linux, category: file_delete`, file("DeleteFile", ""), "TargetFilename", "/etc/cron.d/x", "/etc/x"},
		{`product: linux, category: file_rename`, renamed, "SourceFilename", "/etc/cron.d/x", "/etc/new"},
		{`product: linux, category: file_rename`, renamed, "TargetFilename", "/etc/new", "/etc/cron.d/x"},
		{network, connect, "DestinationIp", "1.2.3.4", "10.0.0.2"},
		{network, connect, "DestinationPort", "4444", "1111"},
		{network, connect, "SourceIp", "10.0.0.2", "1.2.3.4"},
		{network, connect, "SourcePort", "1111", "4444"},
		{network, connect, "Initiated", "'true'", "'false'"},
		{network, connect, "Protocol", "tcp", "udp"},
		{network, connect, "Image|endswith", "/bash", "/sh"},
		{network, accept, "DestinationPort", "22", "5555"},
		{network, accept, "SourceIp", "1.2.3.4", "10.0.0.2"},
		{network, accept, "Initiated", "false", "true"},
		{`category: dns_query`, dns, "QueryName|endswith", ".example", ".com"},
		{`category: dns_query`, dns, "QueryResults", "6.6.6.6", "6.6.6.7"},
		{`category: dns_query`, dns, "QueryStatus", "NOERROR", "NXDOMAIN"},
		{`category: dns`, dns, "query", "evil.example", "example"},
		{`category: dns`, dns, "record_type", "TXT", "A"},
		{`category: dns`, dns, "answer", "6.6.6.6", "6.6.6.7"},
		{`category: proxy`, flow, "c-uri|contains", "/gate.php", "/get.php"},
		{`category: proxy`, flow, "cs-method", "POST", "GET"},
		{`category: proxy`, flow, "cs-host|endswith", ".example", ".com"},
		{`category: proxy`, flow, "r-dns", "c2.example", "c1.example"},
		{`category: proxy`, flow, "c-useragent|startswith", "bot/", "curl/"},
		{`category: proxy`, lower, "c-useragent|startswith", "bot/", "curl/"},
		{`category: proxy`, flow, "dst_ip", "1.2.3.4", "10.0.0.2"},
		{`category: proxy`, flow, "dst_port", "80", "443"},
		{`category: proxy`, flow, "src_ip", "10.0.0.2", "1.2.3.4"},
		{`category: webserver`, flow, "cs-uri-query|contains", "x=1", "x=2"},
		{`category: webserver`, flow, "cs-uri-stem|startswith", "/gate", "/post"},
		{`category: webserver`, flow, "cs-uri|startswith", "http://c2", "https://"},
		{`category: webserver`, lower, "cs-referer", "r", "s"},
		{`category: webserver`, flow, "cs-referrer", "r", "s"},
		{`category: webserver`, lower, "cs-cookie|contains", "c=", "d="},
		{`category: webserver`, lower, "cs-user-agent", "Bot/1", "Bot"},
		{`category: webserver`, flow, "sc-status", "404", "200"},
		{`category: webserver`, flow, "c-uri-stem|contains", "gate", "post"},
		{`category: webserver`, flow, "c-uri-query|contains", "x=", "y="},
		{audit, run, "type", "EXECVE", "SOCKADDR"},
		{audit, run, "a0", "curl", "-o"},
		{audit, run, "a2", "/tmp/a b", "/tmp/a"},
		{audit, run, "exe|endswith", "/curl", "/bash"},
		{audit, run, "proctitle|contains", "-o /tmp", "-x"},
		{audit, run, "cwd", "/home/user", "/"},
		{audit, run, "pid", "7", "6"},
		{audit, run, "ppid", "6", "7"},
		{audit, connect, "type", "SYSCALL", "PATH"},
		{audit, connect, "type", "SOCKADDR", "EXECVE"},
		{audit, connect, "SYSCALL", "connect", "bind"},
		{audit, connect, "success", "'yes'", "'no'"},
		{audit, connect, "comm", "bash", "sh"},
		{audit, connect, "pid", "6", "7"},
		{audit, connect, "uid", "0", "1000"},
		{audit, file("CreateFile", `,"returnValue":3,"fileMode":"0100644","inode":5`), "type", "PATH", "EXECVE"},
		{audit, file("CreateFile", ""), "name", "/etc/cron.d/x", "/etc/cron.d"},
		{audit, file("CreateFile", ""), "nametype", "CREATE", "DELETE"},
		{audit, file("DeleteFile", ""), "nametype", "DELETE", "NORMAL"},
		{audit, file("OpenFile", ""), "nametype", "NORMAL", "CREATE"},
		{audit, file("OpenFile", `,"returnValue":3,"fileMode":"0100644","inode":5`), "exit", "3", "0"},
		{audit, file("OpenFile", `,"returnValue":3,"fileMode":"0100644","inode":5`), "mode", "'0100644'", "'0100755'"},
		{audit, file("OpenFile", `,"returnValue":3,"fileMode":"0100644","inode":5`), "inode", "5", "6"},
		{all, connect, "data.dst_port|gt", "4000", "5000"},
		{all, connect, "operation", "Connect", "Bind"},
		{all, connect, "Image|endswith", "/bash", "/sh"},
	} {
		if !firesOn(t, rule(tt.source, "s: ; \t"+tt.field+": "+tt.ok), tt.event) {
			t.Errorf("%s: %s: %s does not match %s", tt.source, tt.field, tt.ok, tt.event)
		}
		if tt.not != "" && firesOn(t, rule(tt.source, "s: ; \t"+tt.field+": "+tt.not), tt.event) {
			t.Errorf("%s: %s: %s matches %s", tt.source, tt.field, tt.not, tt.event)
		}
	}
}

// TestKeywords checks where keywords of auditd are searched for.
func TestKeywords(t *testing.T) {
	for _, tt := range []struct {
		search, event string
		want          bool
	}{
		{"[none, passw]", created("/usr/bin/cat", "cat", "/etc/passwd"), true}, {"t /etc", created("/usr/bin/cat", "cat", "/etc/passwd"), true}, {"6", created("/usr/bin/init", "init", "6"), true},
		{"6", created("/usr/bin/init", "init", "5"), false}, {"bash", created("/usr/bin/cat", "cat"), false}, {"'|re': '^cat .*w'", created("/usr/bin/cat", "cat", "w"), true},
		{"cron", event("file_operation", `"operation":"OpenFile","filePath":"/etc/crontab","syscall":"open"`), true}, {"new", event("file_operation", `"operation":"RenameFile","filePath":"/a","newFilePath":"/new","syscall":"rename"`), true},
	} {
		search := "s: " + tt.search
		if strings.HasPrefix(tt.search, "'") {
			search = "s: {" + tt.search + "}"
		}
		if got := firesOn(t, rule(`product: linux, service: auditd`, search), tt.event); got != tt.want {
			t.Errorf("%s on %s: %v", tt.search, tt.event, got)
		}
	}
}

// TestSources checks which events are none of a log source's.
func TestSources(t *testing.T) {
	failed := strings.Replace(created("/usr/bin/curl", "curl"), `"status":0`, `"status":-13`, 1)
	for source, e := range map[string]string{
		linux: failed,
		`product: windows, category: process_creation`: created("/usr/bin/curl", "curl"),
		`product: linux, category: file_event`:         event("file_operation", `"operation":"OpenFile","filePath":"/x"`),
		`product: linux, category: file_delete`:        event("file_operation", `"operation":"DeleteFile","filePath":"/x","status":-2`),
		`product: linux, category: network_connection`: event("network_operation", `"operation":"Send","dst":"1.2.3.4"`),
		`category: dns_query`:                          event("network_operation", `"operation":"Send","dst":"1.2.3.4"`),
		`category: proxy`:                              event("http_network_operation", `"role":"server","request":{"url":"/x"}`),
		`category: webserver`:                          event("http_network_operation", `"role":"client","request":{"url":"/x"}`),
		`product: linux, service: auditd`:              event("process_exit", `"operation":"exit"`),
	} {
		if firesOn(t, rule(source, "s: ; \tseq: [0, 1]"), e) {
			t.Errorf("%s has %s", source, e)
		}
	}
}

// TestFacts checks what events before an event say about its process.
func TestFacts(t *testing.T) {
	const (
		parentIsVim   = "s: {ParentImage|endswith: /vim}"
		parentCommand = "s: {ParentCommandLine: vim -u x}"
	)
	vim := created("/usr/bin/vim", "vim", "-u", "x") // as 7
	by := func(pid, child int, image string) string {
		return strings.NewReplacer(`"newProcessId":7`, `"newProcessId":`+string(rune('0'+child)), `"processId":6`, `"processId":`+string(rune('0'+pid)), `"bash"`, `"vim"`).Replace(created(image, "x"))
	}
	fork := event("process_fork", `"operation":"clone","newProcessId":8,"status":0`)
	forked := strings.Replace(fork, `"processId":6`, `"processId":7`, 1)
	exit := strings.NewReplacer(`"processId":6`, `"processId":7`).Replace(event("process_exit", `"operation":"exit"`))
	write := func(pid, name string) string {
		return strings.NewReplacer(`"processId":6`, `"processId":`+pid, `"bash"`, `"`+name+`"`).Replace(event("file_operation", `"operation":"WriteFile","filePath":"/x","status":0`))
	}
	for name, tt := range map[string]struct {
		rule   string
		events []string
		want   bool
	}{
		"the parent ran before":         {rule(linux, parentCommand), []string{vim, by(7, 8, "/bin/sh")}, true},
		"by image":                      {rule(linux, parentIsVim), []string{vim, by(7, 8, "/bin/sh")}, true},
		"another parent":                {rule(linux, parentCommand), []string{vim, by(6, 8, "/bin/sh")}, false},
		"the parent's name is known":    {rule(linux, parentIsVim), []string{by(5, 8, "/bin/sh")}, true},
		"it execs twice":                {rule(linux, parentIsVim), []string{vim, by(7, 8, "/bin/sh"), by(7, 8, "/bin/ls")}, true},
		"it was forked":                 {rule(`category: file_event`, "s: {Image: /usr/bin/vim}"), []string{vim, forked, write("8", "vim")}, true},
		"the child's parent":            {rule(`category: file_event`, parentIsVim), []string{vim, forked, write("8", "vim")}, true},
		"it acts itself":                {rule(`category: file_event`, "s: {CommandLine: vim -u x}"), []string{vim, write("7", "vim")}, true},
		"its pid was used again":        {rule(`category: file_event`, "s: {Image: /usr/bin/vim}"), []string{vim, write("7", "cat")}, false},
		"it wrote late":                 {rule(`category: file_event`, "s: {Image: /usr/bin/vim}"), []string{vim, exit, write("7", "vim")}, true},
		"only the name is known":        {rule(`category: file_event`, "s: {Image|endswith: /cat}"), []string{write("7", "cat")}, true},
		"the exec failed":               {rule(`category: file_event`, "s: {Image: /usr/bin/vim}"), []string{strings.Replace(vim, `"status":0`, `"status":-2`, 1), write("7", "vim")}, false},
		"no rule asks for what is open": {rule(`category: file_event`, "s: {CommandLine|contains: x}"), []string{write("7", "cat")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firesOn(t, tt.rule, tt.events...); got != tt.want {
				t.Errorf("it matches: %v", got)
			}
		})
	}
}

// TestDestinationHostname checks how the name of an address that a program connects to is
// known: from DNS answers and TLS server names before.
func TestDestinationHostname(t *testing.T) {
	answered := func(name, address string) string {
		return event("network_operation", `"operation":"Receive","src":"10.0.0.2","dst":"10.0.0.1","dns":[{"id":1,"response":true,"code":"NOERROR","questions":[{"name":"`+name+`","type":"A"}],"answers":[{"name":"`+name+`","type":"CNAME","data":"cdn.example"},{"name":"cdn.example","type":"A","data":"`+address+`"}]}]`)
	}
	asked := event("network_operation", `"operation":"Send","dns":[{"id":1,"response":false,"questions":[{"name":"evil.example","type":"A"}]}]`)
	hello := event("raw_network_operation", `"protocol":"TLS","direction":"out","src":"10.0.0.2","dst":"192.0.2.7","tlsServerName":"evil.example"`)
	connect := func(address string) string {
		return event("network_operation", `"operation":"Connect","dst":"`+address+`","dst_port":443,"status":-115`)
	}
	const isEvil = "s: {DestinationHostname|endswith: evil.example}"
	source := `product: linux, category: network_connection`
	for name, tt := range map[string]struct {
		events []string
		want   bool
	}{
		"an answer":            {[]string{answered("www.evil.example", "192.0.2.7"), connect("192.0.2.7")}, true},
		"with a final dot":     {[]string{answered("evil.example.", "192.0.2.7"), connect("192.0.2.7")}, true},
		"of a packet":          {[]string{strings.Replace(answered("evil.example", "192.0.2.7"), `"network_operation"`, `"raw_network_operation"`, 1), connect("192.0.2.7")}, true},
		"IPv6":                 {[]string{answered("evil.example", "2001:db8::7"), connect("2001:DB8:0:0::7")}, true},
		"IPv4 in IPv6":         {[]string{answered("evil.example", "192.0.2.7"), connect("::ffff:192.0.2.7")}, true},
		"another address":      {[]string{answered("evil.example", "192.0.2.7"), connect("192.0.2.8")}, false},
		"another name":         {[]string{answered("good.example", "192.0.2.7"), connect("192.0.2.7")}, false},
		"a later name":         {[]string{answered("evil.example", "192.0.2.7"), answered("good.example", "192.0.2.7"), connect("192.0.2.7")}, false},
		"no answer":            {[]string{asked, connect("192.0.2.7")}, false},
		"a later answer":       {[]string{connect("192.0.2.7"), answered("evil.example", "192.0.2.7")}, false},
		"a TLS server name":    {[]string{hello, connect("192.0.2.7")}, true},
		"not of other actions": {[]string{hello, strings.Replace(connect("192.0.2.7"), "Connect", "Accept", 1)}, false},
		"nothing before":       {[]string{connect("192.0.2.7")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firesOn(t, rule(source, isEvil), tt.events...); got != tt.want {
				t.Errorf("it matches: %v", got)
			}
		})
	}
	if !firesOn(t, rule(source, "s: {DestinationPort: 443} ; f: {DestinationHostname|exists: true} ; condition: s and not f"), connect("192.0.2.7")) {
		t.Error("an unknown name exists")
	}
}

// TestNeeds checks rules that need what no event has.
func TestNeeds(t *testing.T) {
	for _, tt := range []struct {
		source, detection string
		runs              bool
		needs             string
	}{
		{linux, "s: {LogonId: 1, Image: x}", false, "LogonId"},
		{linux, "s: {LogonId: 1, IntegrityLevel: High}", false, "IntegrityLevel, LogonId"},
		{linux, "s: [{LogonId: 1}, {Image: x}]", true, "LogonId"},
		{linux, "s: {Image: x} ; f: {LogonId: 1} ; condition: s and not f", true, "LogonId"},
		{linux, "s: {Image: x} ; f: {LogonId: 1, Image: y} ; condition: s and not f", true, "LogonId"},
		{linux, "s: {User: alice}", true, ""},
		{linux, "s: {User: null}", false, "User="},
		{`category: process_creation`, "s: {User: alice}", false, "User=alice"},
		{`product: windows, category: process_creation`, "s: {'User|contains': AUTHORI}", false, "User=*authori*"},
		{`product: linux, category: file_event`, "s: {User: alice}", false, "User=alice"},
		{linux, "s: {Image|fieldref: LogonId}", false, "LogonId"},
		{`product: linux, service: auditd`, "s: {type: SERVICE_STOP}", false, "type=SERVICE_STOP"},
		{`product: linux, service: auditd`, "s: {type: [EXECVE, ADD_USER]}", true, "type=ADD_USER"},
		{`product: linux, service: auditd`, "s: {SYSCALL: sysinfo}", false, "SYSCALL=sysinfo"},
		{`product: linux, service: auditd`, "s: {SYSCALL: [sysinfo, OPENAT]}", true, "SYSCALL=sysinfo"},
		{`product: linux, service: auditd`, "s: {SYSCALL|startswith: [sysi, open]}", true, "SYSCALL=sysi*"},
		{`product: linux, service: auditd`, "s: {SYSCALL|re: '^sysin'}", false, "SYSCALL=^sysin"},
		{`product: linux, service: auditd`, "s: {SYSCALL|re: '^open'}", true, ""},
		{`product: linux, service: auditd`, "s: {SYSCALL: 59}", false, "SYSCALL=59"},
		{`product: linux, service: auditd`, "s: {name: /x} ; f: {SYSCALL: sysinfo} ; condition: s and not f", true, "SYSCALL=sysinfo"},
		{`product: linux, service: auditd`, "s: {SYSCALL|exists: true}", true, ""},
		{`product: windows, category: registry_set`, "s: {TargetObject: x}", false, "events of product windows, category registry_set"},
		{`product: macos, category: process_creation`, "s: {Image: x}", false, "events of product macos, category process_creation"},
		{linux, "s: {Image: x}", true, ""},
	} {
		c := compile(t, rule(tt.source, tt.detection))
		if c.CanRun() != tt.runs || strings.Join(c.Needs, ", ") != tt.needs {
			t.Errorf("%s: %s: runs %v, needs %q", tt.source, tt.detection, c.CanRun(), c.Needs)
		}
	}
}
