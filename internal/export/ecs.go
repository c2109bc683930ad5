package export

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// ecsVersion is the version of the Elastic Common Schema
// (https://www.elastic.co/docs/reference/ecs) whose fields and values are written.
const ecsVersion = "8.17.0"

// typeEventsLost is the type of what agents report about events that they lost.
const typeEventsLost = "events_lost"

// ecs writes one document of the Elastic Common Schema a line. What the schema has
// a field for is in that field; the whole event is under ospulse beside it, its
// data as the agent sent it.
type ecs struct{}

func (ecs) Begin(out []byte) []byte { return out }

func (ecs) End(out []byte) []byte { return out }

func (ecs) Event(out []byte, e *models.Event) []byte {
	head, _ := json.Marshal(newECSDocument(e)) // texts and numbers: nothing that can fail
	out = append(out, head[:len(head)-1]...)
	out = wire.AppendText(append(out, `,"ospulse":{"session_id":`...), e.SessionID)
	out = wire.AppendText(append(out, `,"event_type":`...), e.EventType)
	out = wire.AppendText(append(out, `,"timestamp_source":`...), e.TimestampSource)
	if e.Target != nil {
		out = wire.AppendText(append(out, `,"target":`...), *e.Target)
	}
	data := e.Payload()
	if len(data) == 0 {
		data = models.JSON("null")
	}
	out = wire.AppendOneLine(append(out, `,"data":`...), data)
	return append(out, "}}\n"...)
}

type ecsDocument struct {
	Timestamp   string            `json:"@timestamp"`
	ECS         ecsVersionField   `json:"ecs"`
	Event       ecsEvent          `json:"event"`
	Process     *ecsProcess       `json:"process,omitempty"`
	File        *ecsFile          `json:"file,omitempty"`
	URL         *ecsURL           `json:"url,omitempty"`
	HTTP        *ecsHTTP          `json:"http,omitempty"`
	UserAgent   *ecsUserAgent     `json:"user_agent,omitempty"`
	Source      *ecsEndpoint      `json:"source,omitempty"`
	Destination *ecsEndpoint      `json:"destination,omitempty"`
	Network     *ecsNetwork       `json:"network,omitempty"`
	Message     string            `json:"message,omitempty"`
	Labels      map[string]string `json:"labels"`
}

type ecsVersionField struct {
	Version string `json:"version"`
}

type ecsEvent struct {
	Kind     string   `json:"kind"`
	Category []string `json:"category,omitempty"`
	Type     []string `json:"type,omitempty"`
	Action   string   `json:"action"`
	Outcome  string   `json:"outcome,omitempty"`
	Module   string   `json:"module"`
	Dataset  string   `json:"dataset"`
	Provider string   `json:"provider"`
	ID       string   `json:"id"`
	Sequence int64    `json:"sequence"`
	Created  string   `json:"created"`
}

type ecsProcess struct {
	PID              *int64      `json:"pid,omitempty"`
	Name             string      `json:"name,omitempty"`
	Executable       string      `json:"executable,omitempty"`
	CommandLine      string      `json:"command_line,omitempty"`
	WorkingDirectory string      `json:"working_directory,omitempty"`
	Start            string      `json:"start,omitempty"`
	Parent           *ecsProcess `json:"parent,omitempty"`
}

type ecsFile struct {
	Path      string `json:"path"`
	Name      string `json:"name,omitempty"`
	Extension string `json:"extension,omitempty"`
}

type ecsURL struct {
	Original  string `json:"original,omitempty"`
	Full      string `json:"full,omitempty"`
	Scheme    string `json:"scheme,omitempty"`
	Domain    string `json:"domain,omitempty"`
	Port      *int64 `json:"port,omitempty"`
	Path      string `json:"path,omitempty"`
	Query     string `json:"query,omitempty"`
	Fragment  string `json:"fragment,omitempty"`
	Extension string `json:"extension,omitempty"`
}

type ecsHTTP struct {
	Version  string      `json:"version,omitempty"`
	Request  ecsMessage  `json:"request"`
	Response *ecsMessage `json:"response,omitempty"`
}

type ecsMessage struct {
	Method     string   `json:"method,omitempty"`
	StatusCode *int64   `json:"status_code,omitempty"`
	MIMEType   string   `json:"mime_type,omitempty"`
	Referrer   string   `json:"referrer,omitempty"`
	Body       *ecsBody `json:"body,omitempty"`
}

type ecsBody struct {
	Bytes int64 `json:"bytes"`
}

type ecsUserAgent struct {
	Original string `json:"original"`
}

type ecsEndpoint struct {
	Address string `json:"address,omitempty"`
	IP      string `json:"ip,omitempty"`
	Domain  string `json:"domain,omitempty"`
	Port    *int64 `json:"port,omitempty"`
}

type ecsNetwork struct {
	Protocol  string `json:"protocol,omitempty"`
	Transport string `json:"transport,omitempty"`
	Type      string `json:"type,omitempty"`
	Bytes     *int64 `json:"bytes,omitempty"`
}

func newECSDocument(e *models.Event) *ecsDocument {
	d := &ecsDocument{
		Timestamp: wire.FormatTime(e.Timestamp),
		ECS:       ecsVersionField{ecsVersion},
		Event: ecsEvent{
			Kind: "event", Action: e.EventType, Module: "ospulse", Dataset: "ospulse." + datasetOf(e.EventType), Provider: e.Source,
			ID: e.SessionID + "/" + strconv.FormatInt(e.Seq, 10), Sequence: e.Seq, Created: wire.FormatTime(e.CreatedAt),
		},
		Labels: map[string]string{"session_id": e.SessionID},
	}
	if e.Operation != nil {
		d.Event.Action = *e.Operation
	}
	if e.PID != nil || e.ProcessName != nil {
		d.Process = &ecsProcess{PID: e.PID, Name: textOf(e.ProcessName)}
	}
	data := e.Payload()
	switch e.EventType {
	case models.TypeFile:
		d.setFile(e, data)
	case models.TypeProcessCreation:
		d.setProcess(data)
	case models.TypeHTTP:
		d.setHTTP(data)
	case models.TypePacket:
		d.setPacket(data)
	case "registry_operation":
		d.Event.Category, d.Event.Type = []string{"registry"}, []string{accessType(d.Event.Action)}
	case "session_start":
		d.Event.Category, d.Event.Type = []string{"session"}, []string{"start"}
	case typeEventsLost: // something of the pipeline is wrong, not of what it watches
		d.Event.Kind = "pipeline_error"
	}
	return d
}

// datasetOf makes of an event type a part of a dataset's name.
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

// accessType gives the type that the schema has for what an operation does to a
// file or a key. An operation that opens what is there or creates it, as
// NtCreateFile does, may have done either; the schema's "creation" is taken.
func accessType(operation string) string {
	operation = strings.ToLower(operation)
	for _, rule := range [...]struct {
		eventType string
		words     []string
	}{
		{"deletion", []string{"delete", "unlink", "remove", "rmdir"}},
		{"creation", []string{"create", "mkdir", "mknod"}},
		{"change", []string{"write", "set", "rename", "move", "truncate", "append", "chmod", "chown", "link"}},
	} {
		for _, word := range rule.words {
			if strings.Contains(operation, word) {
				return rule.eventType
			}
		}
	}
	return "access"
}

func (d *ecsDocument) setFile(e *models.Event, data []byte) {
	d.Event.Category, d.Event.Type = []string{"file"}, []string{accessType(textOf(e.Operation))}
	name := plain(first(data, "filePath", "file_path", "path"))
	if name == "" {
		name = textOf(e.Target)
	}
	if name != "" {
		d.File = &ecsFile{Path: name, Name: baseName(name), Extension: extension(name)}
	}
}

// setProcess describes the process that was created; the one that created it is its
// parent.
func (d *ecsDocument) setProcess(data []byte) {
	d.Event.Category, d.Event.Type = []string{"process"}, []string{"start"}
	image := plain(first(data, "imagePath", "image_path", "filePath"))
	child := &ecsProcess{
		Name: baseName(image), Executable: image, CommandLine: plain(first(data, "commandLine", "command_line", "args")),
		WorkingDirectory: plain(first(data, "currentDirectory", "current_directory")), Parent: d.Process,
	}
	if pid, ok := jsonscan.Integer(first(data, "newProcessId", "new_process_id")); ok {
		child.PID = &pid
	}
	if start, ok := wire.ParseTime(plain(first(data, "newProcessStartTime", "new_process_start_time"))); ok {
		child.Start = wire.FormatTime(start)
	}
	if status, ok := jsonscan.Integer(first(data, "status")); ok { // NTSTATUS: negative if it was not created
		d.Event.Outcome = "success"
		if status < 0 {
			d.Event.Outcome = "failure"
		}
	}
	d.Process = child
}

func (d *ecsDocument) setHTTP(data []byte) {
	d.Event.Category, d.Event.Type = []string{"network", "web"}, []string{"connection", "access"}
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
	if jsonscan.Kind(response) == '{' {
		answer := &ecsMessage{MIMEType: mediaType(headers(response)), Body: newECSBody(response)}
		if status, ok := jsonscan.Integer(first(response, "status_code", "status")); ok {
			answer.StatusCode = &status
			d.Event.Outcome = "success"
			if status >= 400 {
				d.Event.Outcome = "failure"
			}
		}
		d.HTTP.Response = answer
	}
	d.Network = &ecsNetwork{Protocol: "http", Transport: "tcp"}
	if d.HTTP.Version == "3" || d.HTTP.Version == "3.0" {
		d.Network.Transport = "udp"
	}
	ip, port := serverAddress(data)
	d.Network.Type = networkType(ip)
	host := d.URL.Domain
	if host == "" && ip == "" {
		return
	}
	d.Destination = &ecsEndpoint{Address: host, IP: ip, Port: d.URL.Port}
	if host == "" {
		d.Destination.Address = ip
	} else if _, err := netip.ParseAddr(host); err != nil {
		d.Destination.Domain = host
	} else if ip == "" {
		d.Destination.IP = host
	}
	if port > 0 {
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
	if port, err := strconv.ParseInt(parsed.Port(), 10, 64); err == nil {
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

func (d *ecsDocument) setPacket(data []byte) {
	d.Event.Category, d.Event.Type = []string{"network"}, []string{"connection"}
	protocol := strings.ToLower(plain(first(data, "protocol")))
	d.Event.Action = protocol
	if protocol == "" {
		d.Event.Action = models.TypePacket
	}
	d.Source, d.Destination = newECSEndpoint(data, "src", "src_port"), newECSEndpoint(data, "dst", "dst_port")
	d.Network = &ecsNetwork{}
	switch protocol {
	case "tcp", "udp", "icmp", "igmp", "sctp":
		d.Network.Transport = protocol
	case "icmpv6":
		d.Network.Transport = "ipv6-icmp"
	default:
		d.Network.Protocol = protocol
	}
	if length, ok := jsonscan.Integer(first(data, "length")); ok && length >= 0 {
		d.Network.Bytes = &length
	}
	if d.Source != nil {
		d.Network.Type = networkType(d.Source.IP)
	}
	d.Message = plain(first(data, "info_raw"))
}

// newECSEndpoint gives an end of a connection; nil if nothing of it is known.
func newECSEndpoint(data []byte, host, port string) *ecsEndpoint {
	address := plain(first(data, host))
	n, hasPort := jsonscan.Integer(first(data, port))
	if address == "" && !hasPort {
		return nil
	}
	end := &ecsEndpoint{Address: address}
	if _, err := netip.ParseAddr(address); err == nil {
		end.IP = address
	}
	if hasPort {
		end.Port = &n
	}
	return end
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
