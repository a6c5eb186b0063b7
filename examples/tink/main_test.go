package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestPIL24_TinkSeals: Tink's AEAD is a sealer, and what it seals is not in the file.
func TestPIL24_TinkSeals(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run(context.Background(), &out, filepath.Join(dir, "channel.db")); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "[redacted] is 20 characters long\ntrue\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	files, err := filepath.Glob(filepath.Join(dir, "channel.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("a long enough secret")) {
			t.Errorf("%s holds the password", filepath.Base(file))
		}
	}
}
