package main

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-db", "sqlite", "-run", "page", "-events", "20000", "-large=false"})
	if err != nil || len(o.databases) != 1 || !o.Scenarios.MatchString("page deep") || o.sizes != (sizes{events: 20000}) {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, err = parse(nil); err != nil || len(o.databases) != 2 || o.sizes != (sizes{1_000_000, true}) || o.sizes.small() != 10_000 || o.sizes.huge() != 10_000_000 {
		t.Errorf("without flags: %+v, %v", o, err)
	}
	for _, args := range []string{"-events 9999", "-events x", "-db mysql", "-run (", "-rounds 0", "-time 0", "-soak -1s", "more"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	for _, flag := range []string{"-db", "-run", "-rounds", "-time", "-events", "-large", "-json", "-soak", "-victorialogs", "-previous", "-record"} {
		if !strings.Contains(help, "\n  "+flag) {
			t.Errorf("the help does not tell of %s", flag)
		}
	}
}
