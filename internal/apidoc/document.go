// Package apidoc holds the description of the API, openapi.yaml, and converts it to JSON.
// It does not know the routes; tests compare them with the description.
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

// JSON returns the description as an OpenAPI 3.1 document in JSON, with the version of the
// program. It fails only if openapi.yaml is wrong.
func JSON(version string) ([]byte, error) {
	var file yaml.Node
	if err := yaml.Unmarshal(source, &file); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	root := plain(file.Content[0])
	lookup(lookup(root, "info"), "version").Value = version
	return append(appendJSON(nil, root), '\n'), nil
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
