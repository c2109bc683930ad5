package repository_test

import (
	"os"
	"testing"

	"ospulse/internal/database/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
