package detect

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTextsOf checks which texts stand for a regular expression.
func TestTextsOf(t *testing.T) {
	for expression, want := range map[string]string{
		`/etc/shadow`:                        "/etc/shadow",
		`^/(etc|usr/etc)/cron\.d/`:           "/etc/cron.d/ /usr/etc/cron.d/",
		`\s(curl|wget)\s`:                    "curl wget",
		`(?i)/READ_?ME.*\.(txt|html?)$`:      "/read_me /readme",
		`\.(txt|html?)$`:                     ".htm .html .txt",
		`[0-9]{3}abc[xyz]d`:                  "abc",
		`(?:abc)+x?`:                         "abc",
		`x*(longer){2,}`:                     "longer",
		`(?i)kilo`:                           "ilo", // U+212A, the Kelvin sign, equals a k
		`(?i)ssh`:                            "",    // U+017F equals an s
		`(?i)sshd-agent`:                     "hd-agent",
		`ABC`:                                "abc",
		`ÄBC`:                                "Äbc",
		`a\x{fffd}bcd`:                       "bcd", // a byte that is not UTF-8 matches U+FFFD
		`.*`:                                 "",
		`(abc)?`:                             "",
		`(abc|)def|gh`:                       "",
		`(abc|xyz)?`:                         "",
		`[a-z]{8,}`:                          "",
		`\bnc\b.*\b(-e|--exec)\b.*(/bin/sh)`: "/bin/sh",
	} {
		if got := strings.Join(textsOf(expression), " "); got != want {
			t.Errorf("%s needs %q, want %q", expression, got, want)
		}
	}
}

// TestEachMatchHasAText checks that a text is in every match of an expression.
func TestEachMatchHasAText(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		`abc`, `KLM`, `é`, `x`, `.`, `\.`, `[a-c]`, `[kK]`, `[^x]`, `\d`, `\b`, `(a|bc|)`, `(abc|def)`, `(?i)sky`, `(?i)été`, `(?:abc)?`, `(ab)+`, `(xyz){2,3}`, `a*`, `\x{fffd}`, `(?i:[k])`,
	})
	rapid.Check(t, func(t *rapid.T) {
		expression := strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "is alternated") {
			expression = "(" + expression + ")|(" + strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "others"), "") + ")"
		}
		texts := textsOf(expression)
		if texts == nil {
			return
		}
		re := regexp.MustCompile(expression)
		s := newSearcher(texts)
		for range 10 {
			match := rapid.StringMatching(expression).Draw(t, "match")
			match = strings.NewReplacer("k", "\u212a", "s", "ſ", "\ufffd", "\xff").Replace(match)
			if !re.MatchString(match) {
				continue
			}
			found := false
			s.each(match, func(int32) { found = true })
			if !found {
				t.Fatalf("%s matches %q, which has none of %q", expression, match, texts)
			}
		}
		if slices.ContainsFunc(texts, func(text string) bool { return len(text) < leastNeed }) {
			t.Fatalf("%s needs %q", expression, texts)
		}
	})
}
