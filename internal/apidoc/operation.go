package apidoc

//go:generate go run ./generate

// Operation is what the backend must know of a route at run time.
type Operation struct {
	ID        string   // its operationId
	Roles     []string // that may use it
	IsPublic  bool     // it needs no key
	IsAudited bool
}

// Operations returns the operations of openapi.yaml by method and path, such as
// "GET /api/sessions/:sessionId". The caller must not change them.
func Operations() map[string]Operation { return operations }
