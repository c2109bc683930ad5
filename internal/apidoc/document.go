// Package apidoc holds the description of the API, openapi.yaml, and renders it: as an
// OpenAPI document in JSON, and as a page for people. It does not know the routes; tests
// compare them with the description.
package apidoc

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// source describes every route. It is written by hand.
//
//go:embed openapi.yaml
var source []byte

// readDocument returns the description as JSON and as the structs that the page shows,
// both with the version of the program.
func readDocument(version string) (text []byte, api *apiDocument, err error) {
	var file yaml.Node
	if err := yaml.Unmarshal(source, &file); err != nil {
		return nil, nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	root := plain(file.Content[0])
	lookup(lookup(root, "info"), "version").Value = version
	api = new(apiDocument)
	if err := root.Decode(api); err != nil {
		return nil, nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return append(appendJSON(nil, root), '\n'), api, nil
}

// plain gives a node without what YAML has and JSON has not: what an alias (*name)
// or a merge (<<) stands for is in its place. A key that is there itself wins over
// one that is merged.
func plain(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return plain(node.Alias)
	}
	out := *node
	out.Anchor, out.Content = "", make([]*yaml.Node, 0, len(node.Content))
	if node.Kind != yaml.MappingNode {
		for _, element := range node.Content {
			out.Content = append(out.Content, plain(element))
		}
		return &out
	}
	var merged []*yaml.Node
	for pair := range slices.Chunk(node.Content, 2) {
		if pair[0].Tag == "!!merge" {
			merged = plain(pair[1]).Content
			continue
		}
		out.Content = append(out.Content, pair[0], plain(pair[1]))
	}
	own := out
	inherited := make([]*yaml.Node, 0, len(merged))
	for pair := range slices.Chunk(merged, 2) {
		if lookup(&own, pair[0].Value) == nil {
			inherited = append(inherited, pair...)
		}
	}
	out.Content = append(inherited, out.Content...)
	return &out
}

// lookup gives a mapping's value of a key, nil if there is none.
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	for pair := range slices.Chunk(mapping.Content, 2) {
		if pair[0].Value == key {
			return pair[1]
		}
	}
	return nil
}

// appendJSON appends a plain node as JSON, its keys in their order.
func appendJSON(out []byte, node *yaml.Node) []byte {
	switch node.Kind {
	case yaml.MappingNode:
		out = append(out, '{')
		for pair := range slices.Chunk(node.Content, 2) {
			if out[len(out)-1] != '{' {
				out = append(out, ',')
			}
			out = append(appendText(out, pair[0].Value), ':')
			out = appendJSON(out, pair[1])
		}
		return append(out, '}')
	case yaml.SequenceNode:
		out = append(out, '[')
		for i, element := range node.Content {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, element)
		}
		return append(out, ']')
	default:
		switch node.Tag {
		case "!!null":
			return append(out, "null"...)
		case "!!int", "!!float", "!!bool": // written as JSON writes them
			return append(out, node.Value...)
		default:
			return appendText(out, node.Value)
		}
	}
}

// appendText appends a JSON string, in which < and > stay as they are.
func appendText(out []byte, text string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string: nothing that can fail
	return append(out, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// members is a mapping whose order counts.
type members[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

// UnmarshalYAML reads a plain mapping.
func (m *members[T]) UnmarshalYAML(node *yaml.Node) error {
	for pair := range slices.Chunk(node.Content, 2) {
		one := member[T]{Name: pair[0].Value}
		if err := pair[1].Decode(&one.Value); err != nil {
			return err
		}
		*m = append(*m, one)
	}
	return nil
}

// get gives the value of a name; the zero value if there is none.
func (m members[T]) get(name string) (value T) {
	for _, one := range m {
		if one.Name == name {
			return one.Value
		}
	}
	return value
}

// These are what the page shows of an OpenAPI document. See
// https://spec.openapis.org/oas/v3.1.0 for what they mean.
type (
	apiDocument struct {
		Info struct {
			Title, Summary, Description, Version string
		}
		Tags       []apiTag
		Paths      members[apiPath]
		Components struct {
			Headers    members[apiHeader]
			Parameters members[apiParameter]
			Responses  members[apiResponse]
			Schemas    members[*apiSchema]
		}
	}
	apiTag struct {
		Name, Description string
	}
	apiPath struct {
		Parameters                     []apiParameter
		Get, Head, Post, Patch, Delete *apiOperation
	}
	apiOperation struct {
		Tags                 []string
		OperationID          string `yaml:"operationId"`
		Summary, Description string
		Parameters           []apiParameter
		RequestBody          *apiResponse `yaml:"requestBody"`
		Responses            members[apiResponse]
	}
	apiParameter struct {
		Ref                   string `yaml:"$ref"`
		Name, In, Description string
		Required              bool
		Schema                *apiSchema
		Example               yaml.Node
	}
	apiResponse struct {
		Ref         string `yaml:"$ref"`
		Description string
		Headers     members[apiHeader]
		Content     members[apiContent]
	}
	apiHeader struct {
		Ref         string `yaml:"$ref"`
		Description string
		Schema      *apiSchema
	}
	apiContent struct {
		Schema   *apiSchema
		Example  yaml.Node
		Messages []apiMessage `yaml:"x-messages"`
	}
	apiMessage struct {
		Event, Description string
		Schema             *apiSchema
	}
	apiSchema struct {
		Ref                  string `yaml:"$ref"`
		Description          string
		Type                 oneOrMore
		Format, Pattern      string
		Enum                 []string
		Const, Default       yaml.Node
		Minimum, Maximum     *int64
		MinLength            *int64 `yaml:"minLength"`
		MaxLength            *int64 `yaml:"maxLength"`
		MinItems             *int64 `yaml:"minItems"`
		MaxItems             *int64 `yaml:"maxItems"`
		Items                *apiSchema
		Properties           members[*apiSchema]
		AdditionalProperties apiAdditional `yaml:"additionalProperties"`
		Required             []string
		AllOf                []*apiSchema `yaml:"allOf"`
		OneOf                []*apiSchema `yaml:"oneOf"`
		Examples             []yaml.Node
	}
)

// oneOrMore is a text or a list of texts.
type oneOrMore []string

// UnmarshalYAML reads either.
func (o *oneOrMore) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*o = oneOrMore{node.Value}
		return nil
	}
	return node.Decode((*[]string)(o))
}

// apiAdditional is what members an object may have besides those that are named:
// the schema of their values, if they have one.
type apiAdditional struct{ Schema *apiSchema }

// UnmarshalYAML reads true, false or a schema.
func (a *apiAdditional) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return nil
	}
	return node.Decode(&a.Schema)
}
