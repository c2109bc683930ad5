package apidoc

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	//go:embed page.html
	pageTemplate string
	//go:embed page.css
	pageStyle string
)

// Documentation is the description of the API of one version of the program.
type Documentation struct {
	JSON   []byte // an OpenAPI 3.1 document
	Page   []byte // the same as HTML, without scripts
	Policy string // Content-Security-Policy of the page: it allows nothing but the page's style
}

// Render returns the documentation of a version of the program. It fails only if
// openapi.yaml or the page's template is wrong.
func Render(version string) (*Documentation, error) {
	document, api, err := readDocument(version)
	if err != nil {
		return nil, err
	}
	view, err := newDocsView(api)
	if err != nil {
		return nil, err
	}
	page, err := template.New("page").Funcs(template.FuncMap{"prose": prose, "inline": inline, "limits": limits}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := page.Execute(&out, view); err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(pageStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return &Documentation{document, out.Bytes(), policy}, nil
}

// These are what the template has to work with: no references, no inheritance.
type (
	docsView struct {
		*apiDocument
		Style   template.CSS
		Groups  []docsGroup
		Errors  []docsError
		Schemas []docsSchema
	}
	docsGroup struct {
		Anchor, Name, Description string
		Operations                []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary, Description, Curl string
		Parameters                                   []apiParameter
		Bodies                                       []docsContent
		Answers                                      []docsAnswer
		Errors                                       []docsErrorLink
	}
	docsAnswer struct {
		Status, Description string
		Headers             []docsHeader
		Contents            []docsContent
	}
	docsHeader struct {
		Name, Description string
	}
	docsContent struct {
		MediaType string
		Schema    *apiSchema
		Example   string
		Messages  []apiMessage
	}
	docsErrorLink struct{ Status, Anchor string }
	docsError     struct{ Status, Anchor, Description, Example string }
	docsSchema    struct {
		Name    string
		Schema  *apiSchema
		Members []docsMember
		Example string
	}
	docsMember struct {
		Name     string
		Required bool
		Schema   *apiSchema
	}
)

func newDocsView(api *apiDocument) (*docsView, error) {
	v := &docsView{apiDocument: api, Style: template.CSS(pageStyle)} //nolint:gosec // it is ours
	groups := map[string]*docsGroup{}
	v.Groups = make([]docsGroup, len(api.Tags))
	for i, tag := range api.Tags {
		v.Groups[i] = docsGroup{Anchor: anchor(tag.Name), Name: tag.Name, Description: tag.Description}
		groups[tag.Name] = &v.Groups[i]
	}
	errorsSeen := map[string]bool{}
	for _, path := range api.Paths {
		for method, operation := range path.Value.operations() {
			group := groups[strings.Join(operation.Tags, ", ")]
			if group == nil {
				return nil, fmt.Errorf("openapi.yaml: %s %s has no tag that is described", method, path.Name)
			}
			shown := api.show(method, path.Name, path.Value.Parameters, operation)
			group.Operations = append(group.Operations, shown)
			for _, link := range shown.Errors {
				if !errorsSeen[link.Anchor] {
					errorsSeen[link.Anchor] = true
					v.Errors = append(v.Errors, api.showError(link))
				}
			}
		}
	}
	slices.SortFunc(v.Errors, func(a, b docsError) int { return cmp.Compare(a.Status, b.Status) })
	for _, schema := range api.Components.Schemas {
		v.Schemas = append(v.Schemas, docsSchema{schema.Name, schema.Value, api.allMembers(schema.Value), indent(api.exampleOf(schema.Value))})
	}
	slices.SortFunc(v.Schemas, func(a, b docsSchema) int { return cmp.Compare(a.Name, b.Name) })
	return v, nil
}

// operations gives the operations that the path has, by their methods.
func (p *apiPath) operations() func(yield func(string, *apiOperation) bool) {
	return func(yield func(string, *apiOperation) bool) {
		for _, one := range []member[*apiOperation]{{"GET", p.Get}, {"HEAD", p.Head}, {"POST", p.Post}, {"PATCH", p.Patch}, {"DELETE", p.Delete}} {
			if one.Value != nil && !yield(one.Name, one.Value) {
				return
			}
		}
	}
}

func (api *apiDocument) show(method, path string, shared []apiParameter, operation *apiOperation) docsOperation {
	shown := docsOperation{
		ID: operation.OperationID, Method: method, Path: path, Summary: operation.Summary, Description: operation.Description,
	}
	for _, parameter := range slices.Concat(shared, operation.Parameters) {
		if name, isRef := strings.CutPrefix(parameter.Ref, "#/components/parameters/"); isRef {
			parameter = api.Components.Parameters.get(name)
		}
		shown.Parameters = append(shown.Parameters, parameter)
	}
	if operation.RequestBody != nil {
		shown.Bodies = api.showContents(operation.RequestBody.Content)
	}
	for _, response := range operation.Responses {
		if name, isRef := strings.CutPrefix(response.Value.Ref, "#/components/responses/"); isRef {
			shown.Errors = append(shown.Errors, docsErrorLink{response.Name, "error-" + anchor(name)})
			continue
		}
		answer := docsAnswer{Status: response.Name, Description: response.Value.Description, Contents: api.showContents(response.Value.Content)}
		for _, header := range response.Value.Headers {
			if header.Name == "X-Request-Id" || header.Name == "X-Content-Type-Options" {
				continue // nothing that a reader has to know of each answer
			}
			described := header.Value
			if name, isRef := strings.CutPrefix(described.Ref, "#/components/headers/"); isRef {
				described = api.Components.Headers.get(name)
			}
			answer.Headers = append(answer.Headers, docsHeader{header.Name, described.Description})
		}
		shown.Answers = append(shown.Answers, answer)
	}
	shown.Curl = curl(&shown)
	return shown
}

func (api *apiDocument) showContents(contents members[apiContent]) []docsContent {
	var shown []docsContent
	for _, content := range contents {
		example := &content.Value.Example
		if example.IsZero() {
			example = api.exampleOf(content.Value.Schema)
		}
		shown = append(shown, docsContent{content.Name, content.Value.Schema, indent(example), content.Value.Messages})
	}
	return shown
}

func (api *apiDocument) showError(link docsErrorLink) docsError {
	for _, response := range api.Components.Responses {
		if link.Anchor == "error-"+anchor(response.Name) {
			example := response.Value.Content.get("application/json").Example
			return docsError{link.Status, link.Anchor, response.Value.Description, string(appendJSON(nil, &example))}
		}
	}
	return docsError{Status: link.Status, Anchor: link.Anchor}
}

// schema follows a reference.
func (api *apiDocument) schema(s *apiSchema) *apiSchema {
	if s != nil && s.Ref != "" {
		return api.Components.Schemas.get(schemaName(s.Ref))
	}
	return s
}

// Name gives the name of the schema that s refers to, "" if it is itself one.
func (s *apiSchema) Name() string { return schemaName(s.Ref) }

func schemaName(ref string) string { return strings.TrimPrefix(ref, "#/components/schemas/") }

// allMembers gives an object's members, those of what it is made of first.
func (api *apiDocument) allMembers(s *apiSchema) []docsMember {
	var all []docsMember
	for _, part := range s.AllOf {
		all = append(all, api.allMembers(api.schema(part))...)
	}
	for _, property := range s.Properties {
		all = append(all, docsMember{property.Name, slices.Contains(s.Required, property.Name), property.Value})
	}
	return all
}

// exampleOf gives an example of a schema, the zero node if there is none.
func (api *apiDocument) exampleOf(s *apiSchema) *yaml.Node {
	s = api.schema(s)
	switch {
	case s == nil:
		return new(yaml.Node)
	case len(s.Examples) > 0:
		return &s.Examples[0]
	case s.Items != nil:
		if element := api.exampleOf(s.Items); !element.IsZero() {
			return &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{element}}
		}
	case len(s.OneOf) > 0:
		return api.exampleOf(s.OneOf[0])
	}
	return new(yaml.Node)
}

// indent writes an example for people: JSON over several lines, and a text as it is.
func indent(example *yaml.Node) string {
	if example.IsZero() {
		return ""
	}
	if example.Kind == yaml.ScalarNode {
		return strings.TrimSpace(example.Value)
	}
	var out bytes.Buffer
	_ = json.Indent(&out, appendJSON(nil, example), "", "  ") // it has just been written
	return out.String()
}

// curl gives a command that makes the request, with the examples of what it needs.
func curl(operation *docsOperation) string {
	path, query, flags := operation.Path, url.Values{}, ""
	for _, parameter := range operation.Parameters {
		switch {
		case parameter.In == "path":
			path = strings.ReplaceAll(path, "{"+parameter.Name+"}", parameter.Example.Value)
		case parameter.In == "query" && !parameter.Example.IsZero() && (parameter.Required || parameter.Name == "limit" || parameter.Name == "format" || parameter.Name == "after"):
			query.Set(parameter.Name, parameter.Example.Value)
		}
	}
	switch operation.Method {
	case http.MethodHead:
		return "curl -I localhost:3003" + path
	case http.MethodPatch, http.MethodDelete:
		flags = " -X " + operation.Method
	}
	for _, answer := range operation.Answers {
		for _, content := range answer.Contents {
			if content.MediaType == "text/event-stream" {
				flags += " -N"
			}
		}
		if answer.Status == "200" && slices.ContainsFunc(answer.Headers, func(h docsHeader) bool { return h.Name == "Content-Disposition" }) {
			flags += " -OJ"
		}
	}
	address := "localhost:3003" + path
	if len(query) > 0 {
		address = "'" + address + "?" + query.Encode() + "'"
	}
	return "curl" + flags + " " + address + curlBody(operation.Bodies)
}

// curlBody gives the part of the command that sends a body.
func curlBody(bodies []docsContent) string {
	if len(bodies) == 0 {
		return ""
	}
	switch body := bodies[0]; body.MediaType {
	case "multipart/form-data":
		return " -F file=@invoice.exe"
	case "application/json":
		var compact bytes.Buffer
		_ = json.Compact(&compact, []byte(body.Example)) // written by indent
		return " -H 'Content-Type: " + body.MediaType + "' \\\n  -d '" + strings.ReplaceAll(compact.String(), "'", `'\''`) + "'"
	default:
		return " -H 'Content-Type: " + body.MediaType + "' --data-binary @session.ospulse.zip"
	}
}

// limits says in words what a schema takes, beyond its type.
func limits(s *apiSchema) []string {
	var out []string
	between := func(low, high *int64, unit string) {
		switch {
		case low != nil && high != nil && *low != *high:
			out = append(out, fmt.Sprintf("%d to %d%s", *low, *high, unit))
		case low != nil && *low > 0 && high == nil:
			out = append(out, fmt.Sprintf("at least %d%s", *low, unit))
		case high != nil && low == nil:
			out = append(out, fmt.Sprintf("at most %d%s", *high, unit))
		}
	}
	between(s.Minimum, s.Maximum, "")
	between(s.MinLength, s.MaxLength, " characters")
	between(s.MinItems, s.MaxItems, " items")
	if s.Pattern != "" {
		out = append(out, "matches "+s.Pattern)
	}
	if !s.Default.IsZero() {
		out = append(out, "default "+s.Default.Value)
	}
	return out
}

// anchor makes a name fit for a link.
func anchor(name string) string {
	return strings.Trim(notPlain.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

var (
	notPlain = regexp.MustCompile(`[^a-z0-9]+`)
	code     = regexp.MustCompile("`([^`]*)`")
)

// inline writes text in which `code` is code.
func inline(text string) template.HTML {
	return template.HTML(code.ReplaceAllString(html.EscapeString(strings.TrimSpace(text)), "<code>$1</code>")) //nolint:gosec // it was escaped
}

// prose writes paragraphs and lists, in which `code` is code.
func prose(text string) template.HTML {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		items := strings.Split("\n"+paragraph, "\n- ")
		if items[0] != "" { // what is no list
			out.WriteString("<p>" + string(inline(paragraph)) + "</p>\n")
			continue
		}
		out.WriteString("<ul>\n")
		for _, item := range items[1:] {
			out.WriteString("<li>" + string(inline(item)) + "</li>\n")
		}
		out.WriteString("</ul>\n")
	}
	return template.HTML(out.String()) //nolint:gosec // inline escapes
}
