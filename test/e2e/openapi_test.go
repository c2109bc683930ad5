package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"ospulse/internal/apidoc"
	"ospulse/internal/app"
	"ospulse/internal/handlers"
)

// maxCheckedBody is the size up to which a body is validated. Larger bodies are lists,
// whose elements also occur in smaller ones.
const maxCheckedBody = 32 << 10

// contract is the API's description in the form in which the tests check the program.
type contract struct {
	operations []*operation
	errorBody  *jsonschema.Schema // of every error answer

	mu      sync.Mutex
	covered map[string]bool // IDs of the operations that succeeded in a test
}

// operation is one method of one path.
type operation struct {
	id, method, path string
	segments         []string                      // of the path; one in braces matches any
	query            map[string]*jsonschema.Schema // by parameter of the URL
	bodies           map[string]*jsonschema.Schema // of requests, by media type
	responses        map[int]response
	messages         map[string]*jsonschema.Schema // of a stream, by type
}

// response is the answer of an operation with one status.
type response struct {
	bodies  map[string]*jsonschema.Schema // by media type
	headers map[string]*jsonschema.Schema // required headers
}

// theContract is read once, because compiling the schemas takes time.
var theContract = sync.OnceValue(func() *contract { //nolint:gochecknoglobals // shared by all tests
	c, err := readContract()
	if err != nil {
		panic(err)
	}
	return c
})

// jsonObject is a part of the description.
type jsonObject = map[string]any

func readContract() (*contract, error) {
	document, err := openAPI()
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		return nil, err
	}
	r := contractReader{document: document, compiler: compiler}
	c := &contract{covered: map[string]bool{}, errorBody: r.compile("#/components/schemas/Error")}
	for path, item := range document["paths"].(jsonObject) {
		for method, value := range item.(jsonObject) {
			if method != "parameters" {
				at := "#/paths/" + pointer(path)
				c.operations = append(c.operations, r.operation(strings.ToUpper(method), path, at, value.(jsonObject)))
			}
		}
	}
	// Literal segments come before parameters.
	slices.SortFunc(c.operations, func(a, b *operation) int { return strings.Compare(a.path, b.path) })
	slices.SortStableFunc(c.operations, func(a, b *operation) int { return strings.Count(a.path, "{") - strings.Count(b.path, "{") })
	return c, r.err
}

// openAPI returns the document that the program serves.
func openAPI() (jsonObject, error) {
	text, err := apidoc.JSON(app.BuildVersion())
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return document.(jsonObject), nil
}

// contractReader reads operations, and keeps the first error.
type contractReader struct {
	document jsonObject
	compiler *jsonschema.Compiler
	err      error
}

func (r *contractReader) operation(method, path, at string, value jsonObject) *operation {
	o := &operation{
		id: value["operationId"].(string), method: method, path: path, segments: strings.Split(path, "/"),
		query: map[string]*jsonschema.Schema{}, responses: map[int]response{},
		messages: map[string]*jsonschema.Schema{},
	}
	at += "/" + strings.ToLower(method)
	parameters, _ := value["parameters"].([]any)
	for i, parameter := range parameters {
		if p, at := r.resolve(parameter, at+"/parameters/"+strconv.Itoa(i)); p["in"] == "query" {
			o.query[p["name"].(string)] = r.compile(at + "/schema")
		}
	}
	if body, ok := value["requestBody"].(jsonObject); ok {
		o.bodies = r.contents(body, at+"/requestBody")
	}
	for text, value := range value["responses"].(jsonObject) {
		status, err := strconv.Atoi(text)
		if err != nil && r.err == nil {
			r.err = err
		}
		described, at := r.resolve(value, at+"/responses/"+text)
		headers := map[string]*jsonschema.Schema{}
		all, _ := described["headers"].(jsonObject)
		for name, header := range all {
			if h, at := r.resolve(header, at+"/headers/"+name); h["required"] == true {
				headers[name] = r.compile(at + "/schema")
			}
		}
		o.responses[status] = response{r.contents(described, at), headers}
		content, _ := described["content"].(jsonObject)
		stream, _ := content["text/event-stream"].(jsonObject)
		messages, _ := stream["x-messages"].([]any)
		for i, message := range messages {
			at := at + "/content/text~1event-stream/x-messages/" + strconv.Itoa(i) + "/schema"
			o.messages[message.(jsonObject)["event"].(string)] = r.compile(at)
		}
	}
	return o
}

// contents compiles the schemas of a body.
func (r *contractReader) contents(body jsonObject, at string) map[string]*jsonschema.Schema {
	schemas := map[string]*jsonschema.Schema{}
	content, _ := body["content"].(jsonObject)
	for mediaType := range content {
		schemas[mediaType] = r.compile(at + "/content/" + pointer(mediaType) + "/schema")
	}
	return schemas
}

func (r *contractReader) compile(at string) *jsonschema.Schema {
	schema, err := r.compiler.Compile("openapi.json" + at)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", at, err)
	}
	return schema
}

// resolve follows a reference and returns its target and location.
func (r *contractReader) resolve(value any, at string) (jsonObject, string) {
	ref, isRef := value.(jsonObject)["$ref"].(string)
	if !isRef {
		return value.(jsonObject), at
	}
	target := any(r.document)
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		target = target.(jsonObject)[step]
	}
	if target == nil {
		panic("the description refers to " + ref + ", which is not there")
	}
	return target.(jsonObject), ref
}

// pointer escapes a step of a JSON pointer in a URL's fragment.
func pointer(step string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(step)
}

// find returns the operation of a request, or nil if none is described.
func (c *contract) find(method, path string) *operation {
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for _, o := range c.operations {
		if o.method == method && slices.EqualFunc(o.segments, segments, func(want, is string) bool {
			return want == is || strings.HasPrefix(want, "{") && is != ""
		}) {
			return o
		}
	}
	return nil
}

// checkContract fails the test if the answer, or a successful request, contradicts the
// description. Every helper that makes requests calls it.
func checkContract(t testing.TB, request *http.Request, body []byte, a answer) {
	t.Helper()
	if fault := theContract().check(request, body, a); fault != nil {
		t.Errorf("%s %.200s: %d: the API's description has it otherwise: %v", request.Method, request.URL, a.status, fault)
	}
}

func (c *contract) check(request *http.Request, body []byte, a answer) error {
	switch {
	case a.header.Get("X-Request-Id") == "" && a.status >= 400:
		return nil // net/http refused an invalid request before the program received it
	case request.Method == http.MethodOptions:
		return nil // a CORS preflight, which no route answers
	}
	isHead := request.Method == http.MethodHead
	o := c.find(request.Method, request.URL.EscapedPath())
	if o == nil && isDashboard(request, a) {
		return nil
	}
	if o == nil {
		if !slices.Contains([]int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}, a.status) {
			return fmt.Errorf("there is no such route")
		}
		if isHead {
			return nil // it has no body
		}
		return checkBody(c.errorBody, a.body)
	}
	described, ok := o.responses[a.status]
	if !ok {
		return fmt.Errorf("%s does not answer this status", o.id)
	}
	for name, schema := range described.headers {
		if err := checkText(schema, a.header.Get(name)); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	if len(described.bodies) == 0 {
		if a.status == http.StatusSeeOther { // the success of an operation that only redirects
			c.cover(o)
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	schema, ok := described.bodies[mediaType]
	if err != nil || !ok {
		return fmt.Errorf("%s does not answer with the Content-Type %q", o.id, a.header.Get("Content-Type"))
	}
	if isJSON(mediaType) && !isHead && len(a.body) <= maxCheckedBody && a.header.Get("Content-Encoding") == "" {
		if err := checkBody(schema, a.body); err != nil {
			return fmt.Errorf("%w in %.500s", err, a.body)
		}
	}
	if a.status >= 300 {
		return nil
	}
	c.cover(o)
	return o.checkRequest(request, body, a)
}

func (c *contract) cover(o *operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.covered[o.id] = true
}

// isDashboard reports whether a is a success of the dashboard, whose paths do not
// belong to the API.
func isDashboard(request *http.Request, a answer) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead}, request.Method) && !strings.HasPrefix(request.URL.Path, "/api") &&
		(a.status == http.StatusOK || a.status == http.StatusNotModified) && a.header.Get("Content-Security-Policy") != ""
}

// checkRequest checks a successful request.
func (o *operation) checkRequest(request *http.Request, body []byte, a answer) error {
	query := request.URL.Query()
	for name, schema := range o.query {
		if text := query.Get(name); text != "" {
			if err := checkText(schema, text); err != nil {
				return fmt.Errorf("the parameter %s was taken and should not be: %w", name, err)
			}
		}
	}
	if o.bodies == nil || len(body) > maxCheckedBody {
		return nil
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // a byte order mark is ignored
	if encoding := request.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil
	}
	mediaType, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type"))
	if mediaType == "" || strings.HasSuffix(mediaType, "+json") { // the program reads both as JSON
		mediaType = "application/json"
	}
	schema, ok := o.bodies[mediaType]
	if !ok {
		return fmt.Errorf("%s does not take a body of the type %s", o.id, mediaType)
	}
	// A batch may have invalid items, which the answer reports. Lines are accepted with
	// any media type.
	var faulty struct{ Errors []any }
	if !isJSON(mediaType) || json.Unmarshal(a.body, &faulty) == nil && len(faulty.Errors) > 0 ||
		o.bodies["application/x-ndjson"] != nil && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		return nil
	}
	if err := checkBody(schema, body); err != nil {
		return fmt.Errorf("a request was taken that should not be: %w: %.500s", err, body)
	}
	return nil
}

func isJSON(mediaType string) bool { return mediaType == "application/json" }

func checkBody(schema *jsonschema.Schema, body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// checkText validates the text of a header or a parameter, converted to the type of its
// schema.
func checkText(schema *jsonschema.Schema, text string) error {
	value := any(text)
	if schema.Types != nil {
		switch types := schema.Types.ToStrings(); {
		case slices.Contains(types, "integer"):
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				value = n
			}
		case slices.Contains(types, "boolean"):
			if is, err := strconv.ParseBool(text); err == nil {
				value = is
			}
		}
	}
	return schema.Validate(value)
}

// uncovered returns the operations that succeeded in no test.
func (c *contract) uncovered() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for _, o := range c.operations {
		if !c.covered[o.id] {
			missing = append(missing, o.id)
		}
	}
	return missing
}

// wantAllCovered returns the exit code of a run: if all tests ran, every operation must
// have succeeded.
func wantAllCovered(code int) int {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return code
		}
	}
	if code != 0 {
		return code
	}
	if missing := theContract().uncovered(); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: no test had a success with these operations of the API's description:", strings.Join(missing, ", "))
		return 1
	}
	return 0
}

// TestOpenAPIDocumentIsValid checks that the document is valid OpenAPI 3.1 by the
// official schema, that its schemas are JSON Schema, and that its examples match their
// schemas.
func TestOpenAPIDocumentIsValid(t *testing.T) {
	t.Parallel()
	document, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(root, "test", "testdata", "openapi-3.1", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	official, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("official.json", official); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("official.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}

	compiler = jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	examples := 0
	walk(document, "#", func(at string, value jsonObject) {
		if _, ok := value["schema"]; !ok && !strings.HasPrefix(at, "#/components/schemas/") {
			return
		}
		var given []any
		if example, ok := value["example"]; ok {
			at, given = at+"/schema", []any{example}
		} else if list, ok := value["examples"].([]any); ok {
			given = list
		}
		for _, example := range given {
			examples++
			schema, err := compiler.Compile("openapi.json" + at)
			if err != nil {
				t.Error(err)
				return
			}
			if err := schema.Validate(example); err != nil {
				t.Errorf("an example of %s: %v", at, err)
			}
		}
	})
	if examples < 50 {
		t.Errorf("there are %d examples", examples)
	}
}

// walk visits the objects of a JSON value, except those in examples.
func walk(value any, at string, visit func(at string, value jsonObject)) {
	switch value := value.(type) {
	case jsonObject:
		visit(at, value)
		for key, member := range value {
			if key != "example" && key != "examples" {
				walk(member, at+"/"+pointer(key), visit)
			}
		}
	case []any:
		for i, element := range value {
			walk(element, at+"/"+strconv.Itoa(i), visit)
		}
	}
}

// TestOpenAPIOperationsAreComplete checks that every operation has what generators and
// readers need.
func TestOpenAPIOperationsAreComplete(t *testing.T) {
	t.Parallel()
	document, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	r := contractReader{document: document}
	tags, ids := map[any]bool{}, map[any]bool{}
	for _, tag := range document["tags"].([]any) {
		tags[tag.(jsonObject)["name"]] = true
	}
	for path, item := range document["paths"].(jsonObject) {
		shared, _ := item.(jsonObject)["parameters"].([]any)
		for method, value := range item.(jsonObject) {
			if method == "parameters" {
				continue
			}
			o := value.(jsonObject)
			name := method + " " + path
			if id, _ := o["operationId"].(string); id == "" || ids[id] {
				t.Errorf("%s has no operationId of its own: %q", name, id)
			}
			ids[o["operationId"]] = true
			if list, _ := o["tags"].([]any); len(list) != 1 || !tags[list[0]] || o["summary"] == nil {
				t.Errorf("%s needs a summary, and one tag that is described", name)
			}
			own, _ := o["parameters"].([]any)
			inPath := map[string]bool{}
			for _, parameter := range slices.Concat(shared, own) {
				p, _ := r.resolve(parameter, "")
				if p["description"] == nil || p["schema"] == nil {
					t.Errorf("%s: the parameter %v is not described", name, p["name"])
				}
				if p["in"] == "path" {
					inPath["{"+p["name"].(string)+"}"] = p["example"] != nil
				}
			}
			for segment := range strings.SplitSeq(path, "/") {
				if strings.HasPrefix(segment, "{") && !inPath[segment] {
					t.Errorf("%s: %s is not described with an example", name, segment)
				}
			}
			for status, response := range o["responses"].(jsonObject) {
				described, _ := r.resolve(response, "")
				headers, _ := described["headers"].(jsonObject)
				if bodiless := status == "303" || status == "304" || status == "412"; headers["X-Request-Id"] == nil || described["content"] == nil && !bodiless {
					t.Errorf("%s: %s has no X-Request-Id or no content", name, status)
				}
				if (status == "429" || status == "503") && headers["Retry-After"] == nil {
					t.Errorf("%s: %s has no Retry-After", name, status)
				}
			}
		}
	}
	for name, schema := range document["components"].(jsonObject)["schemas"].(jsonObject) {
		if schema.(jsonObject)["description"] == nil {
			t.Errorf("the schema %s is not described", name)
		}
	}
	walk(document["components"].(jsonObject)["schemas"], "", func(at string, value jsonObject) {
		properties, ok := value["properties"].(jsonObject)
		if !ok {
			return
		}
		if !strings.HasSuffix(at, "/log") { // others define the content of an HTTP Archive
			for name, property := range properties {
				if property.(jsonObject)["description"] == nil {
					t.Errorf("%s: %s is not described", at, name)
				}
			}
		}
		required, _ := value["required"].([]any)
		for _, name := range required {
			if properties[name.(string)] == nil {
				t.Errorf("%s: %v is required and not described", at, name)
			}
		}
	})
}

// TestOpenAPIIsItsSource checks that the served document equals openapi.yaml as the
// YAML library reads it directly. The library refuses duplicate keys.
func TestOpenAPIIsItsSource(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join(root, "internal", "apidoc", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want jsonObject
	if err := yaml.Unmarshal(source, &want); err != nil {
		t.Fatal(err)
	}
	want["info"].(jsonObject)["version"] = app.BuildVersion()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var written, got any
	a := startBackend(t, nil).send("GET", "/api/openapi.json", "")
	if json.Unmarshal(text, &written) != nil || json.Unmarshal(a.body, &got) != nil || !reflect.DeepEqual(got, written) {
		t.Errorf("%d %.300s", a.status, a.body)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("its type can be guessed")
	}
}

// TestOpenAPIDescribesEveryRoute checks that the program's routes and the described
// routes are the same.
func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	t.Parallel()
	router, err := handlers.New(handlers.Services{}, handlers.Checks{}, handlers.Options{
		Metrics: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler), RequestLog: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	served, described := map[string]bool{}, map[string]bool{}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, route := range router.Router().Routes() {
		served[route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}")] = true
	}
	for _, o := range theContract().operations {
		described[o.method+" "+o.path] = true
	}
	for _, route := range slices.Sorted(maps.Keys(served)) {
		if !described[route] {
			t.Errorf("%s is not described", route)
		}
	}
	for _, route := range slices.Sorted(maps.Keys(described)) {
		if !served[route] {
			t.Errorf("%s is described and not there", route)
		}
	}
}

// TestContractFindsFaults checks that the contract check of the other tests finds
// faults.
func TestContractFindsFaults(t *testing.T) {
	t.Parallel()
	const (
		ok    = `{"status":"success","session_id":"unassigned","seq":1}`
		event = `{"event_type":"x"}`
	)
	header := func(lines ...string) http.Header {
		h := http.Header{"X-Request-Id": {"1"}, "Content-Type": {"application/json"}}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			h.Set(name, value)
		}
		return h
	}
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		header             http.Header
		answer             string
		words              string // "" if there is no fault
	}{
		"all is well":         {"POST", "/api/events?sessionId=x", event, 200, header(), ok, ""},
		"a trailing slash":    {"POST", "/api/events/", event, 200, header(), ok, ""},
		"no such route":       {"GET", "/api/nothing", "", 404, header(), `{"error":"there is none","code":"not_found"}`, ""},
		"a route of no one":   {"GET", "/api/nothing", "", 200, header(), `{}`, "no such route"},
		"no error in a 404":   {"GET", "/api/nothing", "", 404, header(), `{"message":"Not Found"}`, "error"},
		"another method":      {"PATCH", "/api/events", "", 200, header(), ok, "no such route"},
		"another status":      {"POST", "/api/events", event, 201, header(), ok, "does not answer this status"},
		"another type":        {"POST", "/api/events", event, 200, header("Content-Type: text/html"), ok, "Content-Type"},
		"no request id":       {"POST", "/api/events", event, 200, http.Header{"Content-Type": {"application/json"}}, ok, "X-Request-Id"},
		"a member too many":   {"POST", "/api/events", event, 200, header(), `{"status":"success","session_id":"unassigned","seq":1,"x":1}`, "'x' not allowed"},
		"a member too few":    {"POST", "/api/events", event, 200, header(), `{"status":"success","seq":1}`, "session_id"},
		"a member's type":     {"POST", "/api/events", event, 200, header(), `{"status":"success","session_id":"unassigned","seq":"1"}`, "/seq"},
		"no JSON":             {"POST", "/api/events", event, 200, header(), `{"status":`, "EOF"},
		"a request too loose": {"POST", "/api/events", `{"event_type":"x","more":1}`, 200, header(), ok, "should not be"},
		"a parameter":         {"GET", "/api/monitor-modes?x=1", "", 200, header(), `[]`, ""},
		"a parameter's value": {"GET", "/api/sessions/x/events?limit=1001", "", 200, header(), `{"events":[],"has_more":false}`, "the parameter limit"},
		"a parameter's type":  {"GET", "/api/sessions/x/events?count=maybe", "", 200, header(), `{"events":[],"has_more":false}`, "the parameter count"},
		"no Retry-After":      {"POST", "/api/events", event, 429, header(), `{"error":"too much","code":"overloaded"}`, "Retry-After"},
		"a bad Retry-After":   {"POST", "/api/events", event, 429, header("Retry-After: soon"), `{"error":"too much","code":"overloaded"}`, "Retry-After"},
		"a Retry-After":       {"POST", "/api/events", event, 429, header("Retry-After: 2"), `{"error":"too much","code":"overloaded"}`, ""},
		"another code":        {"POST", "/api/events", event, 400, header(), `{"error":"bad","code":"bad"}`, "code"},
		"an inherited member": {"GET", "/api/sessions/x/events/1", "", 200, header(), `{"id":1,"session_id":"x","seq":1,"event_type":"x","timestamp":"2026-11-22T18:57:39Z","timestamp_source":"agent","source":"x","created_at":"2026-11-22T18:57:39Z","data":null,"more":1}`, "more"},
		"a time":              {"GET", "/api/sessions/x/events/1", "", 200, header(), `{"id":1,"session_id":"x","seq":1,"event_type":"x","timestamp":"2026-11-22T18:57:39.5Z","timestamp_source":"agent","source":"x","created_at":"2026-11-22T18:57:39Z","data":null}`, "/timestamp"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "http://localhost"+test.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		// A separate contract, so that nothing counts as covered.
		c := &contract{operations: theContract().operations, errorBody: theContract().errorBody, covered: map[string]bool{}}
		switch err := c.check(request, []byte(test.body), answer{test.status, test.header, []byte(test.answer)}); {
		case test.words == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.words != "" && (err == nil || !strings.Contains(err.Error(), test.words)):
			t.Errorf("%s: %v, want %q", name, err, test.words)
		}
		if isCovered := !slices.Contains(c.uncovered(), "postEvent"); isCovered != slices.Contains([]string{"all is well", "a trailing slash", "a request too loose"}, name) {
			t.Errorf("%s: postEvent counts as tried: %t", name, isCovered)
		}
	}
}

// TestOpenAPIStreams checks that streams and their messages match the description.
func TestOpenAPIStreams(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		for path, wanted := range map[string][]string{
			"/api/stream": {"ready", "session"},
			"/api/sessions/unassigned/stream?after=0": {"session", "message"},
		} {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			checkContract(t, request, nil, answer{response.StatusCode, response.Header, nil})
			b.send("POST", "/api/events?sessionId=unassigned", `{"event_type":"x"}`)
			schemas := theContract().find(http.MethodGet, request.URL.Path).messages
			messages := bufio.NewReader(response.Body)
			for len(wanted) > 0 && !t.Failed() {
				event, data, err := readMessage(messages)
				switch {
				case err != nil:
					t.Errorf("%s has no message %s: %v", path, wanted[0], err)
				case schemas[event] == nil:
					t.Errorf("%s has a message %s, which is not described", path, event)
				default:
					if err := checkBody(schemas[event], data); err != nil {
						t.Errorf("%s, %s: %v", path, event, err)
					}
					wanted = slices.DeleteFunc(wanted, func(one string) bool { return one == event })
				}
			}
			response.Body.Close()
		}
	})
}

// readMessage reads the next message of a stream that has data.
func readMessage(r *bufio.Reader) (event string, data []byte, err error) {
	for event = "message"; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case name == "event":
			event = value
		case name == "data":
			data = append(data, value...)
		case name == "" && value == "" && data != nil:
			return event, data, nil
		}
	}
}

// exportHeads are the content type and the end of the file name of each export format.
var exportHeads = map[string][2]string{ //nolint:gochecknoglobals // a constant
	"ndjson": {"application/x-ndjson", ".ndjson"},
	"json":   {"application/json; charset=utf-8", ".json"},
	"csv":    {"text/csv; charset=utf-8; header=present", ".csv"},
	"har":    {"application/json; charset=utf-8", ".har"},
	"ecs":    {"application/x-ndjson", ".ecs.ndjson"},
	"bundle": {"application/zip", ".ospulse.zip"},
}

// TestOpenAPIExports checks that the description has the formats that the program has, and
// that every export matches the description.
func TestOpenAPIExports(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		b.send("POST", "/api/events", `{"event_type":"x","data":{"a":1}}`)
		b.send("POST", "/api/http/events", `{"timestamp_ms":1795374777956,"request":{"method":"GET","url":"http://a/"},"response":{"status_code":200}}`)
		document, err := openAPI()
		if err != nil {
			t.Fatal(err)
		}
		r := contractReader{document: document}
		format, _ := r.resolve(jsonObject{"$ref": "#/components/schemas/ExportFormat"}, "")
		var names []string
		for _, name := range format["enum"].([]any) {
			names = append(names, name.(string))
			a := b.send("GET", fmt.Sprintf("/api/sessions/unassigned/export?format=%v", name), "")
			if a.status != http.StatusOK || len(a.body) == 0 {
				t.Errorf("%v: %d %.300s", name, a.status, a.body)
			}
			want := exportHeads[name.(string)]
			contentType, file := a.header.Get("Content-Type"), a.header.Get("Content-Disposition")
			if want[1] == "" || contentType != want[0] || !strings.HasSuffix(file, "unassigned"+want[1]) {
				t.Errorf("%v: %q, %q, want %q", name, contentType, file, want)
			}
		}
		refusal, want := b.send("GET", "/api/sessions/unassigned/export?format=no", ""), "format must be one of "+strings.Join(names, ", ")+", not "
		if !strings.Contains(string(refusal.body), want) {
			t.Errorf("the program lists other formats than the description: %s, want %s", refusal.body, want)
		}
	})
}
