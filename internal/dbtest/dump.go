package dbtest

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// Dump is all that the database holds, for a test that looks for what must not be there: the bytes of SQLite's files, or what pg_dump says. The test is
// skipped where there is no pg_dump.
func (d *Database) Dump(t testing.TB) []byte {
	t.Helper()
	if d.Kind == Postgres {
		return d.dumpPostgres(t)
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(d.DSN, "file:"), "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of %s (%v)", path, err)
	}
	var all []byte
	for _, file := range files {
		bytes, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes...)
	}
	return all
}

func (d *Database) dumpPostgres(t testing.TB) []byte {
	t.Helper()
	command, err := exec.LookPath("pg_dump")
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump"); len(found) > 0 { // the newest, which reads older servers too
		sort.Slice(found, func(i, j int) bool { return majorOf(found[i]) > majorOf(found[j]) })
		command, err = found[0], nil
	}
	if err != nil {
		if os.Getenv("PARTNERKIT_POSTGRES_REQUIRED") != "" {
			t.Fatalf("PostgreSQL is required: %v", err)
		}
		t.Skipf("no pg_dump: %v", err)
	}
	dump := exec.Command(command, "--inserts", "--dbname", d.DSN)
	dump.Stderr = os.Stderr
	out, err := dump.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	return out
}
