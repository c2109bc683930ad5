package sigma

import (
	"maps"
	"strings"
)

// Conditions that several sources share.
const (
	onLinux  = `(source = os-pulse-agent or target startswith "/")`
	happened = `not data.status < 0` // the call did not fail; agents without a status report only calls that happened
	moved    = `operation in (RenameFile, LinkFile)`
	started  = `type = process_creation and ` + happened
	created  = `operation in (CreateFile, CreateDirectory, CreateNode, SymlinkFile, RenameFile, LinkFile)`
)

// process are the fields of the process that acts, in every source but process_creation.
var process = map[string]string{ //nolint:gochecknoglobals // a constant
	"Image": "image", "CommandLine": "command", "ParentImage": "parent_image", "ParentCommandLine": "parent_command",
	"ProcessId": "pid", "ParentProcessId": "data.metadata.parentProcessId", "ProcessName": "process", "UtcTime": "time",
}

// user are the names of users that all events tell, by number. Only these numbers are the same on
// all distributions.
var user = map[string]string{"root": `data.metadata.userId = 0`, "nobody": `data.metadata.userId = 65534`} //nolint:gochecknoglobals // a constant

// creation are the fields of process_creation that all agents report.
var creation = map[string]string{ //nolint:gochecknoglobals // a constant
	"Image":             "image | data.filePath | data.givenPath | data.memoryImage",
	"CommandLine":       "command",
	"ParentImage":       "parent_image",
	"ParentCommandLine": "parent_command",
	"CurrentDirectory":  "data.currentDirectory | data.current_directory",
	"ProcessId":         "data.newProcessId",
	"ParentProcessId":   "pid",
	"UtcTime":           "time",
}

var usersOfCreation = map[string]map[string]string{ //nolint:gochecknoglobals // a constant
	"User":       {"root": `data.newUserId = 0`, "nobody": `data.newUserId = 65534`},
	"ParentUser": user,
}

// with returns some fields and others.
func with(fields, others map[string]string) map[string]string {
	all := maps.Clone(fields)
	maps.Copy(all, others)
	return all
}

// tables are the log sources that our events have, and their fields in the taxonomy of Sigma
// (specification/sigma-appendix-taxonomy.md), which has the names of Sysmon, auditd and W3C.
var tables = []table{ //nolint:gochecknoglobals // a constant
	{ // agents on Windows do not tell the user
		source: LogSource{Product: "linux", Category: "process_creation"},
		when:   onLinux + ` and ` + started,
		fields: with(creation, map[string]string{"User": "data.newUserName"}),
		values: usersOfCreation,
	},
	{
		source: LogSource{Category: "process_creation"},
		when:   started,
		fields: creation,
		values: usersOfCreation,
	},
	{
		source: LogSource{Category: "process_termination"},
		when:   `type = process_exit`,
		fields: process,
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "process_access"},
		when:   `type = process_operation and operation in (PtraceProcess, ReadProcessMemory, WriteProcessMemory, TakeHandle) and ` + happened,
		fields: with(process, map[string]string{"SourceImage": "image", "SourceProcessId": "pid", "TargetProcessId": "data.targetProcessId"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "file_event"},
		when:   `type = file_operation and (` + created + ` or operation in (WriteFile, TruncateFile)) and ` + happened,
		fields: with(process, map[string]string{"TargetFilename": "target if not " + moved + " | data.newFilePath | data.givenPath if not " + moved + " | data.newGivenPath"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "file_access"},
		when:   `type = file_operation and operation in (OpenFile, CreateFile, ReadFile, MapFile)`,
		fields: with(process, map[string]string{"TargetFilename": "target | data.givenPath", "FileName": "target | data.givenPath"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "file_change"},
		when:   `type = file_operation and operation in (SetFileTime, ChangeMode, ChangeOwner, SetAttribute, UnsetAttribute) and ` + happened,
		fields: with(process, map[string]string{"TargetFilename": "target | data.givenPath"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "file_delete"},
		when:   `type = file_operation and operation in (DeleteFile, DeleteDirectory) and ` + happened,
		fields: with(process, map[string]string{"TargetFilename": "target | data.givenPath"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "file_rename"},
		when:   `type = file_operation and operation = RenameFile and ` + happened,
		fields: with(process, map[string]string{"SourceFilename": "target | data.givenPath", "OriginalFileName": "target | data.givenPath", "TargetFilename": "data.newFilePath | data.newGivenPath"}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "network_connection"},
		when:   `type = network_operation and operation in (Connect, Accept)`,
		fields: with(process, map[string]string{
			"SourceIp": "data.src if not operation = Accept | data.dst if operation = Accept", "SourcePort": "data.src_port if not operation = Accept | data.dst_port if operation = Accept",
			"DestinationIp": "data.dst if not operation = Accept | data.src if operation = Accept", "DestinationPort": "data.dst_port if not operation = Accept | data.src_port if operation = Accept",
			"DestinationHostname": "destination_host", "Protocol": "data.protocol",
		}),
		values: map[string]map[string]string{
			"Initiated": {"true": `operation = Connect`, "false": `operation = Accept`},
			"User":      user,
		},
	},
	{
		source: LogSource{Category: "dns_query"},
		when:   `exists data.dns[0].questions[0].name and type in (network_operation, raw_network_operation)`,
		fields: with(process, map[string]string{
			"QueryName":    "data.dns[0].questions[0].name | data.dns[1].questions[0].name",
			"QueryResults": "data.dns[0].answers[0].data | data.dns[0].answers[1].data | data.dns[0].answers[2].data | data.dns[0].answers[3].data",
			"QueryStatus":  "data.dns[0].code",
		}),
		values: map[string]map[string]string{"User": user},
	},
	{
		source: LogSource{Category: "dns"},
		when:   `exists data.dns[0].questions[0].name and type in (network_operation, raw_network_operation)`,
		fields: with(process, map[string]string{
			"query": "data.dns[0].questions[0].name | data.dns[1].questions[0].name", "record_type": "data.dns[0].questions[0].type",
			"answer": "data.dns[0].answers[0].data | data.dns[0].answers[1].data | data.dns[0].answers[2].data | data.dns[0].answers[3].data",
		}),
	},
	{
		source: LogSource{Category: "proxy"},
		when:   `type = http_network_operation and not data.role = server`,
		fields: with(process, web),
	},
	{
		source: LogSource{Category: "webserver"},
		when:   `type = http_network_operation and not data.role = client`,
		fields: with(process, web),
	},
	{
		source:   LogSource{Product: "linux", Service: "auditd"},
		when:     `exists data.syscall or type = process_creation`,
		keywords: "command if type = process_creation | target | data.newFilePath",
		fields: map[string]string{
			"a0": argument("0"), "a1": argument("1"), "a2": argument("2"), "a3": argument("3"), "a4": argument("4"),
			"a5": argument("5"), "a6": argument("6"), "a7": argument("7"), "a8": argument("8"), "a9": argument("9"),
			"exe":       "image",
			"comm":      "process if not type = process_creation",
			"name":      "target | data.newFilePath | data.givenPath | data.newGivenPath",
			"cwd":       "data.currentDirectory",
			"SYSCALL":   "data.syscall",
			"proctitle": "command",
			"pid":       "pid if not type = process_creation | data.newProcessId",
			"ppid":      "data.metadata.parentProcessId if not type = process_creation | pid if type = process_creation",
			"uid":       "data.metadata.userId",
			"exit":      "data.returnValue",
			"mode":      "data.fileMode",
			"inode":     "data.inode",
		},
		values: map[string]map[string]string{
			"type": {
				"execve":   `type = process_creation`,
				"syscall":  `exists data.syscall`,
				"path":     `exists target and type in (file_operation, process_creation)`,
				"sockaddr": `type = network_operation and operation in (Connect, Bind, Accept)`,
				"cwd":      `exists data.currentDirectory`,
			},
			"nametype": {
				"create": created,
				"delete": `operation in (DeleteFile, DeleteDirectory, RenameFile)`,
				"normal": `type in (file_operation, process_creation) and not operation in (DeleteFile, DeleteDirectory, CreateFile, CreateDirectory, CreateNode, SymlinkFile)`,
			},
			"success": {"yes": happened, "no": `data.status < 0`},
		},
		known: map[string][]string{"SYSCALL": strings.Fields(calls)},
	},
	// Our own source: the fields of the filter language, and those of the acting process.
	{source: LogSource{Product: "ospulse"}, when: `*`, fields: process, values: map[string]map[string]string{"User": user}},
}

func argument(n string) string {
	return "data.arguments[" + n + "] if type = process_creation"
}

// web are the fields of an HTTP flow.
var web = map[string]string{ //nolint:gochecknoglobals // a constant
	"c-uri":         "data.request.url | data.request.path",
	"c-uri-stem":    "data.request.path",
	"c-uri-query":   "data.request.path",
	"cs-uri-stem":   "data.request.path",
	"cs-uri-query":  "data.request.path",
	"cs-uri":        "data.request.url | data.request.path",
	"cs-method":     "data.request.method",
	"cs-host":       "data.request.host",
	"r-dns":         "data.request.host",
	"c-useragent":   `data.request.headers["User-Agent"] | data.request.headers["user-agent"]`,
	"cs-user-agent": `data.request.headers["User-Agent"] | data.request.headers["user-agent"]`,
	"cs-referer":    "data.request.headers.Referer | data.request.headers.referer",
	"cs-referrer":   "data.request.headers.Referer | data.request.headers.referer",
	"cs-cookie":     "data.request.headers.Cookie | data.request.headers.cookie",
	"sc-status":     "data.response.status_code",
	"dst_ip":        "data.server.ip[0]",
	"dst_port":      "data.request.port",
	"src_ip":        "data.client[0]",
}
