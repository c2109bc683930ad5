package repository_test

import (
	"os"
	"testing"

	"ospulse/test/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
