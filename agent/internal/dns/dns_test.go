package dns

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"ospulse/agent/internal/event"
)

// message returns the bytes of a message in hexadecimal, with spaces.
func message(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records are records as lines: name, type, data.
func records(all []event.DNSRecord) (lines []string) {
	for _, r := range all {
		lines = append(lines, strings.TrimSpace(r.Name+" "+r.Type+" "+r.Data))
	}
	return lines
}

// TestWellFormed compares with the library that packs the message.
func TestWellFormed(t *testing.T) {
	host, alias := dnsmessage.MustNewName("www.example.org."), dnsmessage.MustNewName("example.org.")
	header := func(name dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 99, Response: true, Truncated: true, RCode: dnsmessage.RCodeNameError},
		Questions: []dnsmessage.Question{{Name: host, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: header(host), Body: &dnsmessage.CNAMEResource{CNAME: alias}},
			{Header: header(alias), Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 4}}},
			{Header: header(alias), Body: &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 15: 7}}},
			{Header: header(alias), Body: &dnsmessage.MXResource{Pref: 5, MX: host}},
			{Header: header(alias), Body: &dnsmessage.NSResource{NS: host}},
			{Header: header(alias), Body: &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(".")}},
			{Header: header(alias), Body: &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 389, Target: host}},
			{Header: header(alias), Body: &dnsmessage.TXTResource{TXT: []string{"v=1 ", "a.b"}}},
			{Header: header(alias), Body: &dnsmessage.SOAResource{NS: host, MBox: alias, Serial: 3, Refresh: 4, Retry: 5, Expire: 6, MinTTL: 7}},
			{Header: header(alias), Body: &dnsmessage.UnknownResource{Type: 999, Data: []byte{1, 0xab}}},
		},
		Authorities: []dnsmessage.Resource{{Header: header(alias), Body: &dnsmessage.AResource{A: [4]byte{9, 9, 9, 9}}}},
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, ok := Parse(raw)
	answers := got.Answers
	got.Answers = nil
	want := event.DNS{ID: 99, Response: true, Truncated: true, Code: "NXDOMAIN", Questions: []event.DNSRecord{{Name: "www.example.org", Type: "AAAA"}}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	lines := []string{
		"www.example.org CNAME example.org", "example.org A 10.0.0.4", "example.org AAAA 2001::7", "example.org MX 5 www.example.org",
		"example.org NS www.example.org", "example.org PTR .", "example.org SRV 1 2 389 www.example.org", "example.org TXT v=1 a.b",
		"example.org SOA www.example.org example.org 3 4 5 6 7", "example.org TYPE999 01ab",
	}
	if got := records(answers); !reflect.DeepEqual(got, lines) {
		t.Errorf("got  %q\nwant %q", got, lines)
	}
	for i := range answers {
		if answers[i].TTL != 60 {
			t.Errorf("%v: TTL %d, want 60", answers[i], answers[i].TTL)
		}
	}
	for n := range raw { // a cut message has what came before
		cut, ok := Parse(raw[:n])
		if ok != (n >= headerBytes) || !reflect.DeepEqual(records(cut.Answers), lines[:len(cut.Answers):len(cut.Answers)]) && len(cut.Answers) > 0 {
			t.Errorf("%d bytes: %+v", n, cut)
		}
	}
}

func TestMalformed(t *testing.T) {
	const (
		header    = "1234 8180 0001 0003 0000 0000 " // three answers
		question  = "02 7231 04 74657374 00 0001 0001 "
		good      = "c00c 0001 0001 0000003c 0004 0a000004 "
		alsoGood  = "c00c 0001 0001 0000003c 0004 0a000005 "
		goodLine  = "r1.test A 10.0.0.4"
		goodLine5 = "r1.test A 10.0.0.5"
	)
	for name, test := range map[string]struct{ raw, questions, answers string }{
		"a dot in a label":          {"1234 0100 0001 0000 0000 0000 08 6578612e6d706c65 03 636f6d 00 0010 0001", `exa\.mple.com TXT`, ""},
		"a backslash in a label":    {"1234 0100 0001 0000 0000 0000 03 615c62 00 0001 0001", `a\\b A`, ""},
		"bytes that are no text":    {"1234 0100 0001 0000 0000 0000 05 610020ff7f 00 0001 0001", `a\000\032\255\127 A`, ""},
		"an address of 3 bytes":     {header + question + good + "c00c 0001 0001 0000003c 0003 0a0000 " + alsoGood, "r1.test A", goodLine + `|r1.test A \# 3 0a0000|` + goodLine5},
		"an address of 5 bytes":     {header + question + good + "c00c 0001 0001 0000003c 0005 0a00000102 " + alsoGood, "r1.test A", goodLine + `|r1.test A \# 5 0a00000102|` + goodLine5},
		"an address of no bytes":    {header + question + good + "c00c 001c 0001 0000003c 0000 " + alsoGood, "r1.test A", goodLine + `|r1.test AAAA \# 0|` + goodLine5},
		"a long name for an alias":  {header + question + good + "c00c 0005 0001 0000003c 0004 c00c c00c " + alsoGood, "r1.test A", goodLine + `|r1.test CNAME \# 4 c00cc00c|` + goodLine5},
		"an alias in the next":      {header + question + good + "c00c 0005 0001 0000003c 0002 c0ff " + alsoGood, "r1.test A", goodLine + `|r1.test CNAME \# 2 c0ff|` + goodLine5},
		"an alias past its end":     {header + question + good + "c00c 0005 0001 0000003c 0002 0461 " + alsoGood, "r1.test A", goodLine + `|r1.test CNAME \# 2 0461|` + goodLine5},
		"a text past its end":       {header + question + good + "c00c 0010 0001 0000003c 0002 0561 " + alsoGood, "r1.test A", goodLine + `|r1.test TXT \# 2 0561|` + goodLine5},
		"a name that is forward":    {header + question + good + "c0ff 0001 0001 0000003c 0004 0a000009 " + alsoGood, "r1.test A", goodLine + "|" + goodLine5},
		"a name that is itself":     {header + question + "c019 0001 0001 0000003c 0004 0a000009 " + good + alsoGood, "r1.test A", goodLine + "|" + goodLine5},
		"a label of no known kind":  {header + question + good + "41 0001 0001 0000003c 0004 0a000009 " + alsoGood, "r1.test A", goodLine},
		"data past the end":         {header + question + good + "c00c 0001 0001 0000003c 00ff 0a000009 ", "r1.test A", goodLine},
		"fewer answers than said":   {header + question + good, "r1.test A", goodLine},
		"a question without a name": {"1234 0100 0002 0000 0000 0000 c0ff 0001 0001 016100 0001 0001", "a A", ""},
		"a service": {
			"1234 8180 0000 0001 0000 0000 0161 00 0041 0001 0000003c 001f 0001 00 0001 0006 026832 026833 0003 0002 01bb 0004 0004 0a000001 0063 0000",
			"", "a HTTPS 1 . alpn=h2,h3 port=443 ipv4hint=10.0.0.1 key99=",
		},
		"a service with half an address": {
			"1234 8180 0000 0001 0000 0000 0161 00 0041 0001 0000003c 0009 0001 00 0004 0002 0a00", "", `a HTTPS \# 9 000100000400020a00`,
		},
	} {
		got, ok := Parse(message(t, test.raw))
		if !ok || strings.Join(records(got.Questions), "|") != test.questions || strings.Join(records(got.Answers), "|") != test.answers {
			t.Errorf("%s: got %q and %q\nwant %q and %q", name, records(got.Questions), records(got.Answers), test.questions, test.answers)
		}
	}
	if _, ok := Parse([]byte("no DNS")); ok {
		t.Error("six bytes were accepted as a message")
	}
}

// TestLongNames parses names around the limit of 255 bytes. A longer one costs itself.
func TestLongNames(t *testing.T) {
	for _, test := range []struct {
		labels int // of 63 bytes
		last   int // bytes of the last label
		isName bool
	}{{3, 61, true}, {3, 62, false}, {4, 1, false}, {200, 1, false}} {
		name := strings.Repeat("\x3f"+strings.Repeat("a", 63), test.labels) + string(rune(test.last)) + strings.Repeat("b", test.last) + "\x00"
		raw := append(message(t, "1234 0100 0002 0000 0000 0000"), name+"\x00\x01\x00\x01\x01c\x00\x00\x01\x00\x01"...)
		got, _ := Parse(raw)
		if want := map[bool]int{true: 2, false: 1}[test.isName]; len(got.Questions) != want || got.Questions[want-1].Name != "c" {
			t.Errorf("%d labels and %d bytes: got %d questions, want %d", test.labels, test.last, len(got.Questions), want)
		}
	}
}

// TestManyAnswers bounds what a message of 64 KiB becomes.
func TestManyAnswers(t *testing.T) {
	name := strings.Repeat("\x3f"+strings.Repeat("\xff", 63), 3) + "\x00"
	raw := append(message(t, "1234 8180 0001 ffff 0000 0000"), name+"\x00\x01\x00\x01"...)
	for len(raw) < 65535-12 {
		raw = append(raw, message(t, "c00c 0005 0001 0000003c 0002 c00c")...)
	}
	got, _ := Parse(raw)
	size := 0
	for _, r := range got.Answers {
		size += len(r.Name) + len(r.Data)
	}
	if size > maxText || size < maxText-3000 {
		t.Errorf("%d bytes of text, want almost %d", size, maxText)
	}
}

// FuzzParse checks that no address is made up.
func FuzzParse(f *testing.F) {
	f.Add(message(f, "1234 8180 0001 0002 0000 0000 02 7231 04 74657374 00 0001 0001 c00c 0001 0001 0000003c 0003 0a0000 c00c 001c 0001 0000003c 0004 0a000004"))
	f.Add(message(f, "1234 8180 0000 0001 0000 0000 0161 00 0041 0001 0000003c 000f 0001 00 0004 0004 0a000001 0003 0002 01bb"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, ok := Parse(raw)
		if ok != (len(raw) >= headerBytes) {
			t.Errorf("ok is %v for %d bytes", ok, len(raw))
		}
		for _, r := range m.Answers {
			if a, err := netip.ParseAddr(r.Data); err == nil && (r.Type == "A" || r.Type == "AAAA") && !bytes.Contains(raw, a.AsSlice()) {
				t.Errorf("%s is not in the message", a)
			}
		}
	})
}
