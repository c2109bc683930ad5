package sigma_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ospulse/internal/sigma"
)

const whole = `title: Secret file
id: 1b2c
status: test
description: |
  Two
  lines
references:
  - https://a.example
author: A. Person
license: DRL 1.1
date: 2026-11-22
modified: 2026-11-23
tags: [attack.t1003.008, attack.credential-access]
logsource:
  product: Linux
  category: file_access
detection:
  selection:
    TargetFilename: /etc/shadow
  condition: selection
falsepositives: Backups
level: HIGH
custom: ignored
sentence: "{program} read {path}"
`

func TestParse(t *testing.T) {
	r, err := sigma.Placeholders(nil).Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{
		"ID": {r.ID, "1b2c"}, "Title": {r.Title, "Secret file"}, "Status": {r.Status, "test"}, "Description": {r.Description, "Two\nlines"},
		"Author": {r.Author, "A. Person"}, "License": {r.License, "DRL 1.1"}, "Date": {r.Date, "2026-11-22"}, "Modified": {r.Modified, "2026-11-23"},
		"Tags": {strings.Join(r.Tags, " "), "attack.t1003.008 attack.credential-access"}, "References": {strings.Join(r.References, " "), "https://a.example"},
		"FalsePositives": {strings.Join(r.FalsePositives, " "), "Backups"}, "Level": {string(r.Level), "high"}, "Kind": {string(r.Kind), ""},
		"Sentence": {r.Sentence, "{program} read {path}"},
		"Source":   {r.Source.String(), "product linux, category file_access"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	r, err = sigma.Placeholders(nil).Parse([]byte("title: x\nkind: routine\nlogsource: {service: auditd}\ndetection: {s: a, condition: s}"))
	if err != nil || r.Kind != sigma.Routine || r.Level != sigma.Medium {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestFaults checks that each fault has its line and says what is wrong.
func TestFaults(t *testing.T) {
	deep := strings.Repeat("[", 20) + "a" + strings.Repeat("]", 20)
	laughs := "title: x\nlogsource: {category: proxy}\na: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n" +
		"d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
	with := func(detection string) string { return rule(linux, detection) }
	for _, tt := range []struct{ text, want string }{
		{"", "the rule is empty"},
		{strings.Repeat("x", 300<<10), "at most 262144"},
		{"a: [", "line 1"},
		{"- a", "line 1: a rule is a map"},
		{"title: x\n---\ntitle: y", "a second YAML document"},
		{strings.Replace(whole, "title: Secret file", "titel: x", 1), "the rule has no title"},
		{strings.Replace(whole, "logsource:", "source:", 1), "no logsource"},
		{strings.Replace(whole, "detection:", "detections:", 1), "no detection"},
		{strings.Replace(whole, "level: HIGH", "level: huge", 1), `line 22: level is "huge", not one of: informational, low`},
		{strings.Replace(whole, "tags: [", "tags: [{a: b}, ", 1), "line 13: tags is not a text"},
		{strings.Replace(whole, "date: 2026-11-22", "date: [a]", 1), "line 11: date is not a text"},
		{"title: x\nkind: strange\n" + whole[20:], `line 2: kind is "strange"`},
		{whole + "title: again\n", "title is written twice"},
		{"title: x\ncorrelation: {}\n", "line 2: this is a correlation"},
		{"sentence: '{program} read {password}'", "line 1: sentence names {password}: it can have {program}, {command}"},
		{"sentence: 'read {path'", "sentence names {path"},
		{"sentence: \"a\\u202Eb\"", "sentence must be one line of plain text"},
		{"sentence: [a]", "sentence is not a text"},
		{"id: x\ntitle: \"a\\0b\"\n", "line 2: title has a NUL character"},
		{"title: x\ntags: [\"a\\0b\"]\n", "line 2: tags has a NUL character"},
		{"action: global\ntitle: x\n", "line 1: rule collections"},
		{"title: x\nlogsource: {category: proxy}\ndetection: " + deep, "nested more than 16 deep"},
		{laughs, "more than 20000 values"},
		{"title: x\n&a b: *a\n", "line"},
		{"a: &a\n  b: *a\n", "line"},
		{"title: x\nlogsource: {category: proxy}\ndetection: [a]\n", "line 3: detection is not a map"},
		{with("s: a ; condition: [ ]"), "the condition is empty"},
		{with("s: a ; condition: ''"), "the condition is empty"},
		{strings.Replace(with("s: a"), "condition: s", "conditions: s", 1), "no condition"},
		{with("s: a ; condition: t"), `line 5: condition: there is no search "t"`},
		{with("s: a ; condition: s and"), "expected the name of a search, found the end"},
		{with("s: a ; condition: s s"), `expected and, or, or the end, found "s"`},
		{with("s: a ; condition: (s"), "expected and, or, or ), found the end"},
		{with("s: a ; condition: s | count() > 5"), "aggregations"},
		{with("s: a ; condition: s near s"), "near is not supported"},
		{with("s: a ; condition: near s"), "near is not supported"},
		{with("s: a ; timeframe: 5m"), "timeframe belongs to aggregations"},
		{with("s: a ; condition: 2 of them"), "a number of searches up to 1"},
		{with("s: a ; condition: some of them"), "expected all of"},
		{with("s: a ; condition: 1 of x_*"), `no search has a name like "x_*"`},
		{with("s: a ; condition: 1 of ["), "is no pattern"},
		{with("s: a ; condition: " + strings.Repeat("(", 20) + "s" + strings.Repeat(")", 20)), "more than 16 levels"},
		{with("s: a ; condition: " + strings.Repeat("not ", 20) + "s"), "more than 16 levels"},
		{with("s: ; condition: s"), "the search s is empty"},
		{with("s: [] ; condition: s"), "the search s is empty"},
		{with("s: {} ; condition: s"), "the search s is empty"},
		{with("s: {a: {b: c}}"), "the value of a is a map"},
		{with("s: {a: [[b]]}"), "is not a text, number or null"},
		{with("s: {a: []}"), "a has no values"},
		{with("s: {a|near: x}"), "unknown modifier |near"},
		{with("s: {a|re: '('}"), "missing closing )"},
		{with("s: {a|re: 'x(?!y)'}"), "look-around"},
		{with("s: {a|re: '(x{1000}){1000}'}"), "invalid repeat count"},
		{with("s: {a|re: '" + strings.Repeat("x", 5000) + "'}"), "at most 4096"},
		{with("s: {a|re: null}"), "takes regular expressions"},
		{with("s: {a|i: x}"), "|i belongs to |re"},
		{with("s: {a|cidr: 10.0.0.0}"), "|cidr takes networks"},
		{with("s: {a|lt: x}"), "|lt takes numbers"},
		{with("s: {a|hour: x}"), "|hour takes whole numbers"},
		{with("s: {a|exists: maybe}"), "|exists takes true or false"},
		{with("s: {a|fieldref: 'b*'}"), "|fieldref takes the name of a field"},
		{with("s: {a|base64: 'b*'}"), "a text with wildcards cannot be encoded"},
		{with("s: {a|contains: null}"), "|contains takes texts"},
		{with("s: {pid: x}"), `pid is a number, not "x"`},
		{with("s: {Image|gt: 5}"), "Image cannot be compared with 5"},
		{with("s: {a|re: b, 'null': [null]} ; t: [null] ; condition: t"), "null is no keyword"},
		{with("s: {'|re': b}"), "a keyword is a text"},
		{with("s: {a: [" + strings.Repeat("a,", 5001) + "]}"), "more than 5000 values"},
		{with("a: x ; b: [" + strings.Repeat("a,", 4000) + "] ; c: x ; d: x ; condition: 2 of them"), "more than 5000 tests"},
	} {
		r, err := sigma.Placeholders(nil).Parse([]byte(tt.text))
		if err == nil {
			_, err = r.Compile()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.200s\nthe error is %v, want %q", tt.text, err, tt.want)
		}
	}
}

// FuzzParse checks that a rule is refused with an *Error, or is compiled and evaluated, within
// seconds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	for _, detection := range []string{
		"s: {data.x|windash|contains|all: [' -a', '*b?']} ; condition: s", "a: [x, {data.y|re|i: 'b+'}] ; b: {Image|base64offset|contains: foo} ; condition: 1 of them and not (a or b)",
		"s: {data.x|contains|expand: ['%a%/%a%', '%none%']}", "s: {data.x|cidr: '::/0', data.y|cased: A, data.z|fieldref: Image, time|hour|gte: 5}",
	} {
		f.Add([]byte(rule(all, detection)))
		f.Add([]byte(rule(linux, detection)))
	}
	e := received(f, created("/usr/bin/curl", "curl", "-o", "/tmp/a b", "http://x/"))
	placeholders, err := sigma.ReadPlaceholders([]byte("a: [x, y*, 5]"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		began := time.Now()
		r, err := placeholders.Parse(text)
		if err == nil {
			var compiled *sigma.Compiled
			if compiled, err = r.Compile(); err == nil && compiled.CanRun() {
				_ = compiled.Where.Match(e)
				_ = compiled.Where.String()
			}
		}
		if _, ok := errors.AsType[*sigma.Error](err); err != nil && !ok {
			t.Errorf("the error is a %T: %v", err, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
