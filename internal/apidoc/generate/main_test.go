package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestOperationsAreGenerated checks that operations.go is up to date with openapi.yaml.
func TestOperationsAreGenerated(t *testing.T) {
	document, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(document)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../operations.go")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("operations.go is not as generated (%v): run go generate ./internal/apidoc", err)
	}
}

// TestOperationWithoutRoles checks that an operation cannot be forgotten.
func TestOperationWithoutRoles(t *testing.T) {
	for text, words := range map[string]string{
		"paths: {/x: {get: {operationId: x}}}":                                                  "has no security",
		"paths: {/x: {get: {operationId: x, security: []}}}":                                    "",
		`paths: {"/x/{a}": {parameters: [], get: {operationId: x, security: [{k: [viewer]}]}}}`: "",
		"paths: [": "yaml",
	} {
		_, err := generate([]byte(text))
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
