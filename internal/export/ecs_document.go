package export

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Event types that only agents use.
const (
	typeEventsLost   = "events_lost"
	typeSessionStart = "session_start"
	typeSessionEnd   = "session_end"
	typeRegistry     = "registry_operation"
	typeFork         = "process_fork"
	typeThread       = "thread_creation"
	typeExit         = "process_exit"
	typeProcess      = "process_operation"
)

// Values of event.type.
const (
	ecsAccess     = "access"
	ecsChange     = "change"
	ecsConnection = "connection"
	ecsCreation   = "creation"
	ecsDeletion   = "deletion"
	ecsEnd        = "end"
	ecsInfo       = "info"
	ecsProtocol   = "protocol"
	ecsStart      = "start"
)

const (
	outcomeSuccess = "success"
	outcomeFailure = "failure"
	outcomeUnknown = "unknown"
)

// errInProgress is the status of a connect on a non-blocking socket.
const errInProgress = -115

func newECSDocument(e *models.Event) *ecsDocument {
	d := &ecsDocument{
		Timestamp: models.FormatTime(e.Timestamp),
		ECS:       ecsVersionField{ecsVersion},
		Event: ecsEvent{
			Kind: "event", Action: e.EventType, Module: "ospulse", Dataset: "ospulse." + datasetOf(e.EventType), Provider: e.Source,
			ID: e.SessionID + "/" + strconv.FormatInt(e.Seq, 10), Sequence: e.Seq, Created: models.FormatTime(e.CreatedAt),
		},
		Labels: map[string]string{"session_id": e.SessionID},
	}
	if e.Operation != nil {
		d.Event.Action = *e.Operation
	}
	data := e.Payload()
	d.setActor(e, data)
	d.setOutcome(data)
	switch e.EventType {
	case models.TypeFile:
		d.setFile(e, data)
	case models.TypeProcessCreation:
		d.setEvent("process", ecsStart)
		d.setProcess(e, data)
	case typeFork:
		d.setEvent("process", ecsStart)
		d.setFork(e, data)
	case typeThread:
		d.setEvent("process", ecsInfo)
		d.setThread(first(data, "newThreadId"))
	case typeExit:
		d.setEvent("process", ecsEnd)
		d.setExit(data)
	case typeProcess:
		d.setProcessOperation()
	case models.TypeHTTP:
		d.setHTTP(data)
	case models.TypePacket:
		d.setPacket(data)
	case models.TypeNetwork:
		d.setNetwork(data)
	case typeRegistry:
		d.setEvent("registry", accessType(d.Event.Action))
		d.setRegistry(data)
	case typeSessionStart:
		d.setEvent("session", ecsStart)
	case typeSessionEnd:
		d.setEvent("session", ecsEnd)
	case typeEventsLost: // the pipeline is at fault, not the program
		d.Event.Kind = "pipeline_error"
		d.Message = plain(first(data, "reason"))
	}
	if slices.Contains(d.Event.Category, "session") || d.Event.Kind != "event" {
		d.Event.Outcome = ""
	}
	return d
}

// setEvent sets the category and the types. A failed call had no effect, so its type is
// only info.
func (d *ecsDocument) setEvent(category string, types ...string) {
	if d.Event.Outcome == outcomeFailure {
		types = []string{ecsInfo}
	}
	if category == "registry" && types[0] == ecsInfo { // the category does not have this type
		types = []string{ecsAccess}
	}
	d.Event.Category, d.Event.Type = []string{category}, types
}

// setOutcome sets the outcome of a call: a negative status is an error of Linux or
// Windows.
func (d *ecsDocument) setOutcome(data []byte) {
	status, ok := jsonscan.Integer(jsonscan.Get(data, "status"))
	switch {
	case !ok:
	case status == errInProgress:
		d.Event.Outcome = outcomeUnknown
	case status < 0:
		d.Event.Outcome = outcomeFailure
	default:
		d.Event.Outcome = outcomeSuccess
	}
}

// setActor sets the acting process, with its user, container and host system.
func (d *ecsDocument) setActor(e *models.Event, data []byte) {
	metadata := first(data, "metadata", "process_info")
	if jsonscan.Kind(metadata) != '{' {
		metadata = data
	}
	start := timeText(first(metadata, "processStartTime", "process_start_time"))
	if e.PID != nil || e.ProcessName != nil {
		d.Process = &ecsProcess{PID: e.PID, Name: textOf(e.ProcessName), Start: start, EntityID: entityID(e, e.PID, start)}
		d.setThread(first(metadata, "threadId"))
		if parent, ok := jsonscan.Integer(first(metadata, "parentProcessId", "parent_process_id", "ppid")); ok {
			d.Process.Parent = &ecsProcess{PID: &parent}
		}
	}
	if user := plain(first(metadata, "userId")); user != "" {
		d.User = &ecsUser{ID: user}
	}
	if container := plain(first(metadata, "containerId")); container != "" {
		d.Container = &ecsID{container}
	}
	switch system := plain(first(data, "platform")); {
	case system == "linux", e.Source == "os-pulse-agent":
		d.Host = &ecsHost{ecsOS{"linux"}}
	case strings.HasPrefix(system, "win"), e.Source == "os-pulse-controller":
		d.Host = &ecsHost{ecsOS{"windows"}}
	case system == "darwin":
		d.Host = &ecsHost{ecsOS{"macos"}}
	}
}

func (d *ecsDocument) setThread(id []byte) {
	if n, ok := jsonscan.Integer(id); ok && d.Process != nil {
		d.Process.Thread = &ecsThread{n}
	}
}

// entityID identifies a process among those of all sessions by its pid, and by its
// start if known.
func entityID(e *models.Event, pid *int64, start string) string {
	if pid == nil {
		return ""
	}
	return strings.TrimSuffix(e.SessionID+"/"+strconv.FormatInt(*pid, 10)+"/"+start, "/")
}

// timeText returns a time in the document's format, or "" for other values.
func timeText(value []byte) string {
	if t, ok := models.ParseTime(plain(value)); ok {
		return models.FormatTime(t)
	}
	return ""
}

// datasetOf converts an event type to a part of a dataset's name.
func datasetOf(eventType string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_':
			return r
		case 'A' <= r && r <= 'Z':
			return r + ('a' - 'A')
		default:
			return '_'
		}
	}, eventType)
}

func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// accessType returns the schema's type for an operation on a file or a key. An
// operation that opens or creates, such as NtCreateFile, may have done either; it
// counts as "creation".
func accessType(operation string) string {
	operation = strings.ToLower(operation)
	for _, rule := range [...]struct {
		eventType string
		words     []string
	}{
		{ecsAccess, []string{"readlink", "mapping", "createsection", "changedirectory", "changeroot"}},
		{ecsDeletion, []string{"delete", "unlink", "remove", "rmdir"}},
		{ecsCreation, []string{"create", "mkdir", "mknod", "link"}},
		{ecsChange, []string{"write", "set", "rename", "move", "replace", "truncate", "append", "chmod", "chown", "changemode", "changeowner", "mount"}},
		{ecsInfo, []string{"close", "duplicatehandle"}},
	} {
		for _, word := range rule.words {
			if strings.Contains(operation, word) {
				return rule.eventType
			}
		}
	}
	return ecsAccess
}

func (d *ecsDocument) setFile(e *models.Event, data []byte) {
	eventType := accessType(textOf(e.Operation))
	if flags := plain(first(data, "flags")); eventType == ecsAccess {
		switch {
		case strings.Contains(flags, "O_CREAT"):
			eventType = ecsCreation
		case strings.Contains(flags, "O_TRUNC"):
			eventType = ecsChange
		}
	}
	d.setEvent("file", eventType)
	name := plain(first(data, "filePath", "file_path", "path"))
	if name == "" {
		name = textOf(e.Target)
	}
	if name != "" {
		d.File = &ecsFile{
			Path: name, Name: baseName(name), Directory: directory(name), Extension: extension(name), TargetPath: plain(first(data, "linkTarget")),
			Inode: plain(first(data, "inode")), Device: plain(first(data, "deviceId")), Mode: plain(first(data, "fileMode")),
		}
	}
}

// setProcess describes the created process; its parent is the process that created it.
func (d *ecsDocument) setProcess(e *models.Event, data []byte) {
	image := plain(first(data, "imagePath", "image_path", "filePath"))
	child := &ecsProcess{
		Name: baseName(image), Executable: image, CommandLine: plain(first(data, "commandLine", "command_line", "args")),
		WorkingDirectory: plain(first(data, "currentDirectory", "current_directory")), Parent: d.Process,
	}
	for _, arg := range elements(first(data, "arguments")) {
		child.Args = append(child.Args, plain(arg))
	}
	child.ArgsCount = len(child.Args)
	if child.Parent != nil {
		child.Parent.Thread, child.Parent.Parent = nil, nil // the schema has no grandparents
	}
	d.setChild(e, child, data)
	if user := plain(first(data, "newUserId")); user != "" {
		d.User = &ecsUser{ID: user, Name: plain(first(data, "newUserName"))}
	}
	if effective := plain(first(data, "effectiveUserId")); effective != "" && d.User != nil {
		d.User.Effective = &ecsID{effective}
	}
}

// setFork describes the copy of a process.
func (d *ecsDocument) setFork(e *models.Event, data []byte) {
	child := &ecsProcess{Parent: d.Process}
	if child.Parent != nil {
		child.Name, child.Parent.Thread, child.Parent.Parent = child.Parent.Name, nil, nil
	}
	d.setChild(e, child, data)
}

// setChild makes a new process the subject of the event.
func (d *ecsDocument) setChild(e *models.Event, child *ecsProcess, data []byte) {
	if pid, ok := jsonscan.Integer(first(data, "newProcessId", "new_process_id")); ok {
		child.PID = &pid
		child.Start = timeText(first(data, "newProcessStartTime", "new_process_start_time"))
		child.EntityID = entityID(e, child.PID, child.Start)
	}
	d.Process = child
}

func (d *ecsDocument) setExit(data []byte) {
	d.Event.Outcome = "" // the exit code shows the outcome of the process
	if signal := plain(first(data, "signalName")); signal != "" {
		d.Message = "ended by " + signal
	}
	if d.Process == nil {
		return
	}
	d.Process.End = d.Timestamp
	if code, ok := jsonscan.Integer(first(data, "exitCode", "exit_code")); ok {
		d.Process.ExitCode = &code
	}
}

// setProcessOperation sets the type of an operation of a process on itself, another
// process or the kernel.
func (d *ecsDocument) setProcessOperation() {
	switch operation := d.Event.Action; {
	case operation == "LoadModule":
		d.setEvent("driver", ecsStart)
	case operation == "UnloadModule":
		d.setEvent("driver", ecsEnd)
	case operation == "PtraceProcess", operation == "ReadProcessMemory":
		d.setEvent("process", ecsAccess)
	case operation == "WriteProcessMemory", strings.HasPrefix(operation, "Set"), strings.HasSuffix(operation, "Namespace"):
		d.setEvent("process", ecsChange)
	default:
		d.setEvent("process", ecsInfo)
	}
}

func (d *ecsDocument) setRegistry(data []byte) {
	r := ecsRegistry{Path: plain(first(data, "keyPath", "key_path", "registryPath", "filePath", "path", "key")), Value: plain(first(data, "valueName", "value_name"))}
	if r != (ecsRegistry{}) {
		d.Registry = &r
	}
}

func (d *ecsDocument) setHTTP(data []byte) {
	d.Event.Category, d.Event.Type = []string{"network", "web"}, []string{ecsConnection, ecsAccess}
	request, response := jsonscan.Get(data, "request"), jsonscan.Get(data, "response")
	address := requestURL(request)
	d.URL = newECSURL(address)
	fields := headers(request)
	d.HTTP = &ecsHTTP{
		Version: strings.TrimPrefix(plain(first(request, "http_version")), "HTTP/"),
		Request: ecsMessage{
			Method: plain(first(request, "method")), MIMEType: mediaType(fields), Referrer: headerText(fields, "Referer"), Body: newECSBody(request),
		},
	}
	if agent := headerText(fields, "User-Agent"); agent != "" {
		d.UserAgent = &ecsUserAgent{agent}
	}
	d.Event.Outcome = ""
	if jsonscan.Kind(response) == '{' {
		answer := &ecsMessage{MIMEType: mediaType(headers(response)), Body: newECSBody(response)}
		if status, ok := jsonscan.Integer(first(response, "status_code", "status")); ok {
			answer.StatusCode = &status
			d.Event.Outcome = outcomeSuccess
			if status >= 400 {
				d.Event.Outcome = outcomeFailure
			}
		}
		d.HTTP.Response = answer
	}
	d.Network = &ecsNetwork{Protocol: "http", Transport: "tcp"}
	if d.HTTP.Version == "3" || d.HTTP.Version == "3.0" {
		d.Network.Transport = "udp"
	}
	switch plain(first(data, "role")) {
	case "client":
		d.Network.Direction = "egress"
	case "server":
		d.Network.Direction = "ingress"
	}
	if client := elements(jsonscan.Get(data, "client")); len(client) == 2 {
		d.Source = endpoint(plain(client[0]), client[1])
	}
	ip, port := serverAddress(data)
	ip = ipText(ip)
	d.Network.Type = networkType(ip)
	host := d.URL.Domain
	if host == "" && ip == "" {
		return
	}
	d.Destination = &ecsEndpoint{Address: host, IP: ip, Port: d.URL.Port}
	if host == "" {
		d.Destination.Address = ip
	} else if hostIP := ipText(host); hostIP == "" {
		d.Destination.Domain = host
	} else if ip == "" {
		d.Destination.IP = hostIP
	}
	if isPort(port) && port > 0 {
		d.Destination.Port = &port
	}
}

func newECSURL(address string) *ecsURL {
	u := &ecsURL{Original: address}
	parsed, err := url.Parse(address)
	if err != nil {
		return u
	}
	if parsed.IsAbs() {
		u.Full = address
	}
	u.Scheme, u.Domain, u.Path, u.Query, u.Fragment = parsed.Scheme, parsed.Hostname(), parsed.Path, parsed.RawQuery, parsed.Fragment
	u.Extension = extension(parsed.Path)
	if port, err := strconv.ParseInt(parsed.Port(), 10, 64); err == nil && isPort(port) {
		u.Port = &port
	}
	return u
}

func mediaType(fields []header) string {
	text, _, _ := strings.Cut(headerText(fields, "Content-Type"), ";")
	return strings.TrimSpace(text)
}

func newECSBody(message []byte) *ecsBody {
	if b := bodyOf(jsonscan.Get(message, "body")); b.size >= 0 {
		return &ecsBody{b.size}
	}
	return nil
}

// setNetwork describes a call on a socket, in which src is the local end and dst the
// remote one. The source of the document is the end that sends or connects.
func (d *ecsDocument) setNetwork(data []byte) {
	operation := strings.ToLower(d.Event.Action)
	d.Source, d.Destination = newECSEndpoint(data, "src", "src_port"), newECSEndpoint(data, "dst", "dst_port")
	d.setProtocol(data, d.Source, d.Destination)
	bytes, moved := jsonscan.Integer(first(data, "bytesTransferred"))
	if moved = moved && bytes >= 0; moved {
		d.Network.Bytes = &bytes
	}
	switch {
	case strings.HasPrefix(operation, "connect"):
		d.Network.Direction = "egress"
		d.setEvent("network", ecsConnection, ecsStart)
	case strings.HasPrefix(operation, "accept"):
		d.Network.Direction = "ingress"
		d.Source, d.Destination = d.Destination, d.Source
		d.setEvent("network", ecsConnection, ecsStart)
	case strings.HasPrefix(operation, "close"), strings.HasPrefix(operation, "shutdown"):
		d.setEvent("network", ecsConnection, ecsEnd)
	case strings.HasPrefix(operation, "send"), strings.HasPrefix(operation, "write"):
		d.Network.Direction = "egress"
		d.setEvent("network", ecsConnection)
	case strings.HasPrefix(operation, "recv"), strings.HasPrefix(operation, "receive"), strings.HasPrefix(operation, "read"):
		d.Network.Direction = "ingress"
		d.Source, d.Destination = d.Destination, d.Source
		d.setEvent("network", ecsConnection)
	default: // Socket, Bind, Listen …: not connected yet
		d.setEvent("network", ecsInfo)
	}
	if moved && d.Source != nil && d.Network.Direction != "" {
		d.Source.Bytes = &bytes
	}
	d.setDNS(data)
}

func (d *ecsDocument) setPacket(data []byte) {
	d.setEvent("network", ecsConnection)
	protocol := strings.ToLower(plain(first(data, "protocol")))
	d.Event.Action = protocol
	if protocol == "" {
		d.Event.Action = models.TypePacket
	}
	d.Source, d.Destination = newECSEndpoint(data, "src", "src_port"), newECSEndpoint(data, "dst", "dst_port")
	d.setProtocol(data, d.Source, d.Destination)
	if d.Network.Transport == "" && first(data, "tcpFlags") != nil {
		d.Network.Transport = "tcp"
	}
	switch plain(first(data, "direction")) {
	case "out":
		d.Network.Direction = "egress"
	case "in":
		d.Network.Direction = "ingress"
	}
	if length, ok := jsonscan.Integer(first(data, "length")); ok && length >= 0 {
		d.Network.Bytes = &length
		if d.Source != nil {
			d.Source.Bytes = &length
		}
	}
	if name := plain(first(data, "tlsServerName")); name != "" {
		d.TLS = &ecsTLS{ecsTLSClient{name}}
		if d.Destination != nil {
			d.Destination.Domain = name
		}
	}
	d.Message = plain(first(data, "info_raw"))
	d.setDNS(data)
}

// setProtocol sets the transport or the protocol above it, and the kind of the
// addresses.
func (d *ecsDocument) setProtocol(data []byte, ends ...*ecsEndpoint) {
	d.Network = &ecsNetwork{}
	switch protocol := strings.ToLower(plain(first(data, "protocol"))); protocol {
	case "tcp", "udp", "icmp", "igmp", "sctp":
		d.Network.Transport = protocol
	case "icmpv6":
		d.Network.Transport = "ipv6-icmp"
	default:
		d.Network.Protocol = protocol
	}
	for _, end := range ends {
		if end != nil && d.Network.Type == "" {
			d.Network.Type = networkType(end.IP)
		}
	}
}

// setDNS reads the first DNS message of this project's agent, or Wireshark's
// description of one: "Standard query 0x0010 A example.com".
func (d *ecsDocument) setDNS(data []byte) {
	message := jsonscan.Element(jsonscan.Get(data, "dns"), 0)
	switch {
	case jsonscan.Kind(message) == '{':
		d.DNS = newECSDNS(message)
	case strings.HasPrefix(d.Message, "Standard query ") && slices.Contains([]string{"dns", "mdns", "llmnr"}, d.Network.Protocol):
		d.DNS = dnsOfInfo(d.Message)
	default:
		return
	}
	if d.Network.Protocol == "" {
		d.Network.Protocol = "dns"
	}
	if d.Event.Outcome != outcomeFailure {
		d.Event.Type = append(d.Event.Type, ecsProtocol)
	}
}

func newECSDNS(message []byte) *ecsDNS {
	dns := &ecsDNS{Type: "query", ID: plain(first(message, "id"))}
	if jsonscan.Kind(jsonscan.Get(message, "response")) == 't' {
		dns.Type, dns.ResponseCode = "answer", plain(first(message, "code"))
	}
	if question := jsonscan.Element(jsonscan.Get(message, "questions"), 0); question != nil {
		dns.Question = &ecsDNSQuestion{Name: plain(first(question, "name")), Type: plain(first(question, "type"))}
	}
	for _, record := range elements(jsonscan.Get(message, "answers")) {
		answer := ecsDNSResource{Name: plain(first(record, "name")), Type: plain(first(record, "type")), Data: plain(first(record, "data"))}
		if ttl, ok := jsonscan.Integer(first(record, "ttl")); ok {
			answer.TTL = &ttl
		}
		dns.Answers = append(dns.Answers, answer)
		if ip := ipText(answer.Data); ip != "" {
			dns.ResolvedIP = append(dns.ResolvedIP, ip)
		}
	}
	return dns
}

// dnsTypes are the types of records that programs ask for.
var dnsTypes = []string{"A", "AAAA", "ANY", "CAA", "CNAME", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT"} //nolint:gochecknoglobals // a constant

func dnsOfInfo(info string) *ecsDNS {
	dns := &ecsDNS{Type: "query"}
	words := strings.Fields(info)[2:]
	if len(words) > 0 && words[0] == "response" {
		dns.Type, words = "answer", words[1:]
	}
	for i := 0; i+1 < len(words); i++ {
		if !slices.Contains(dnsTypes, words[i]) {
			continue
		}
		if dns.Question == nil {
			dns.Question = &ecsDNSQuestion{Name: strings.TrimSuffix(words[i+1], ","), Type: words[i]}
		} else if ip := ipText(strings.TrimSuffix(words[i+1], ",")); ip != "" {
			dns.ResolvedIP = append(dns.ResolvedIP, ip)
		}
		i++
	}
	return dns
}

// newECSEndpoint returns one end of a connection; nil if nothing of it is known.
func newECSEndpoint(data []byte, host, port string) *ecsEndpoint {
	return endpoint(plain(first(data, host)), first(data, port))
}

func endpoint(address string, port []byte) *ecsEndpoint {
	n, hasPort := jsonscan.Integer(port)
	hasPort = hasPort && isPort(n)
	if address == "" && !hasPort {
		return nil
	}
	end := &ecsEndpoint{Address: address, IP: ipText(address)}
	if hasPort {
		end.Port = &n
	}
	return end
}

func isPort(n int64) bool { return n >= 0 && n <= 65535 }

// ipText returns an address in the form that Elasticsearch accepts, without a zone. It
// returns "" for other text.
func ipText(text string) string {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return address.WithZone("").String()
}

func networkType(ip string) string {
	address, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case address.Unmap().Is4():
		return "ipv4"
	default:
		return "ipv6"
	}
}

// directory returns the path of a file's folder on Windows or any other system; "" for
// a name alone.
func directory(name string) string {
	i := strings.LastIndexAny(name, `/\`)
	if i <= 0 || name[i-1] == ':' { // a root keeps its slash
		return name[:i+1]
	}
	return name[:i]
}
