package export

import (
	"encoding/json"

	"ospulse/internal/jsonscan"

	"ospulse/internal/models"
)

// ecsVersion is the version of the Elastic Common Schema
// (https://www.elastic.co/docs/reference/ecs) whose fields and values are written.
const ecsVersion = "8.17.0"

// ecs writes one document of the Elastic Common Schema per line. It maps values to the
// schema's fields, and adds the whole event under ospulse, with its data as the agent
// sent it except for duplicate keys.
type ecs struct{}

func (ecs) Begin(out []byte) []byte { return out }

func (ecs) End(out []byte) []byte { return out }

func (ecs) Event(out []byte, e *models.Event) []byte {
	head, _ := json.Marshal(newECSDocument(e)) // strings and numbers cannot fail
	out = append(out, head[:len(head)-1]...)
	out = jsonscan.AppendText(append(out, `,"ospulse":{"session_id":`...), e.SessionID)
	out = jsonscan.AppendText(append(out, `,"event_type":`...), e.EventType)
	out = jsonscan.AppendText(append(out, `,"timestamp_source":`...), e.TimestampSource)
	if e.TimestampText != nil {
		out = jsonscan.AppendText(append(out, `,"timestamp_text":`...), *e.TimestampText)
	}
	if e.Target != nil {
		out = jsonscan.AppendText(append(out, `,"target":`...), *e.Target)
	}
	out = append(out, `,"data":`...)
	switch data := e.Payload(); {
	case len(data) == 0:
		out = append(out, "null"...)
	case e.DataRaw != nil: // only such data may have duplicate keys
		out = appendUnique(out, data)
	default:
		out = jsonscan.AppendOneLine(out, data)
	}
	return append(out, "}}\n"...)
}

type ecsDocument struct {
	Timestamp   string            `json:"@timestamp"`
	ECS         ecsVersionField   `json:"ecs"`
	Event       ecsEvent          `json:"event"`
	Host        *ecsHost          `json:"host,omitempty"`
	Process     *ecsProcess       `json:"process,omitempty"`
	User        *ecsUser          `json:"user,omitempty"`
	Container   *ecsID            `json:"container,omitempty"`
	File        *ecsFile          `json:"file,omitempty"`
	Registry    *ecsRegistry      `json:"registry,omitempty"`
	URL         *ecsURL           `json:"url,omitempty"`
	HTTP        *ecsHTTP          `json:"http,omitempty"`
	UserAgent   *ecsUserAgent     `json:"user_agent,omitempty"`
	Source      *ecsEndpoint      `json:"source,omitempty"`
	Destination *ecsEndpoint      `json:"destination,omitempty"`
	Network     *ecsNetwork       `json:"network,omitempty"`
	DNS         *ecsDNS           `json:"dns,omitempty"`
	TLS         *ecsTLS           `json:"tls,omitempty"`
	Message     string            `json:"message,omitempty"`
	Labels      map[string]string `json:"labels"`
}

type ecsVersionField struct {
	Version string `json:"version"`
}

type ecsID struct {
	ID string `json:"id"`
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

type ecsHost struct {
	OS ecsOS `json:"os"`
}

type ecsOS struct {
	Type string `json:"type"`
}

type ecsUser struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Effective *ecsID `json:"effective,omitempty"`
}

type ecsThread struct {
	ID int64 `json:"id"`
}

type ecsProcess struct {
	PID              *int64      `json:"pid,omitempty"`
	EntityID         string      `json:"entity_id,omitempty"`
	Name             string      `json:"name,omitempty"`
	Executable       string      `json:"executable,omitempty"`
	CommandLine      string      `json:"command_line,omitempty"`
	Args             []string    `json:"args,omitempty"`
	ArgsCount        int         `json:"args_count,omitempty"`
	WorkingDirectory string      `json:"working_directory,omitempty"`
	Start            string      `json:"start,omitempty"`
	End              string      `json:"end,omitempty"`
	ExitCode         *int64      `json:"exit_code,omitempty"`
	Thread           *ecsThread  `json:"thread,omitempty"`
	Parent           *ecsProcess `json:"parent,omitempty"`
}

type ecsFile struct {
	Path       string `json:"path"`
	Name       string `json:"name,omitempty"`
	Directory  string `json:"directory,omitempty"`
	Extension  string `json:"extension,omitempty"`
	TargetPath string `json:"target_path,omitempty"`
	Inode      string `json:"inode,omitempty"`
	Device     string `json:"device,omitempty"`
	Mode       string `json:"mode,omitempty"`
}

type ecsRegistry struct {
	Path  string `json:"path,omitempty"`
	Value string `json:"value,omitempty"`
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
	Bytes   *int64 `json:"bytes,omitempty"`
}

type ecsNetwork struct {
	Protocol  string `json:"protocol,omitempty"`
	Transport string `json:"transport,omitempty"`
	Type      string `json:"type,omitempty"`
	Direction string `json:"direction,omitempty"`
	Bytes     *int64 `json:"bytes,omitempty"`
}

type ecsDNS struct {
	Type         string           `json:"type,omitempty"`
	ID           string           `json:"id,omitempty"`
	ResponseCode string           `json:"response_code,omitempty"`
	Question     *ecsDNSQuestion  `json:"question,omitempty"`
	Answers      []ecsDNSResource `json:"answers,omitempty"`
	ResolvedIP   []string         `json:"resolved_ip,omitempty"`
}

type ecsDNSQuestion struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

type ecsDNSResource struct {
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
	Data string `json:"data,omitempty"`
	TTL  *int64 `json:"ttl,omitempty"`
}

type ecsTLS struct {
	Client ecsTLSClient `json:"client"`
}

type ecsTLSClient struct {
	ServerName string `json:"server_name"`
}
