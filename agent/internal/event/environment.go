package event

import "strings"

// Which variables of a program's environment an event keeps.
const (
	AllVariables  = "all"
	SomeVariables = "some" // those that decide which code the program loads or which proxy it uses
	NoVariables   = "none"
)

// KeepVariables returns the entries, NAME=value, of an environment that a setting keeps: one of
// AllVariables, SomeVariables and NoVariables. It returns nil only if the setting keeps none.
func KeepVariables(kept string, entries []string) []string {
	switch kept {
	case AllVariables:
		return append([]string{}, entries...)
	case SomeVariables:
		some := []string{}
		for _, entry := range entries {
			if name, _, _ := strings.Cut(entry, "="); decides(name) {
				some = append(some, entry)
			}
		}
		return some
	default:
		return nil
	}
}

// decides reports whether SomeVariables includes a variable.
func decides(name string) bool {
	switch name {
	case "PATH", "HOME", "GLIBC_TUNABLES", "GCONV_PATH", "BASH_ENV", "ENV", "PYTHONPATH", "PERL5LIB", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS":
		return true
	}
	return strings.HasPrefix(name, "LD_") || strings.HasSuffix(strings.ToLower(name), "_proxy")
}

// environment writes the entries of an environment; nothing if they are nil. A name has its
// first value. The rest has further values of a name, and entries that are no variable: a
// program can pass any text.
func (o *object) environment(entries []string, isCut bool) {
	if entries == nil {
		return
	}
	o.key("environment")
	o.out = append(o.out, '{')
	seen := make(map[string]bool, len(entries))
	var rest []string
	for _, entry := range entries {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" || seen[name] {
			rest = append(rest, entry)
			continue
		}
		if len(seen) > 0 {
			o.out = append(o.out, ',')
		}
		seen[name] = true
		o.out = append(AppendString(o.out, name), ':')
		o.out = AppendString(o.out, value)
	}
	o.out = append(o.out, '}')
	if len(rest) > 0 {
		o.texts("environmentRest", rest)
	}
	o.flag("environmentTruncated", isCut)
}
