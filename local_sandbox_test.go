package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestSandboxName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ id, want string }{
		{"ct:1:0:job:", "ct%3A1%3A0%3Ajob%3A"},
		{"a/../b", "a%2F..%2Fb"},
		{"..", "%2E."},
		{"100% ~ü", "100%25%20%7E%C3%BC"},
	} {
		if got := sandboxName(tt.id); got != tt.want {
			t.Errorf("sandboxName(%q) = %q, want %q", tt.id, got, tt.want)
		}
	}
	dir := t.TempDir()
	for _, id := range []string{"ct:1:0:job:", "..", "100% ~ü\x00\xff", strings.Repeat("long ", 51), strings.Repeat("long ", 50) + "lonG "} {
		name := sandboxName(id)
		if len(name) > maxSandboxName || strings.ContainsAny(name, "/\x00") {
			t.Errorf("sandboxName(%q) = %q, no file name", id, name)
		}
		box := sandbox(filepath.Join(dir, name))
		if err := box.create(id); err != nil {
			t.Fatal(err)
		}
		if got, err := box.runID(); got != id || err != nil {
			t.Errorf("runID of %q = %q, %v", id, got, err)
		}
	}
}

func TestSandboxNamesAreShortWhateverTheID(t *testing.T) {
	for _, tt := range []struct{ id, want string }{
		{"ct:1:0:a b:", "ct%3A1%3A0%3Aa%20b%3A"}, {".x", "%2Ex"}, {"", ""}, {"ü", "%C3%BC"},
		{strings.Repeat("x", maxSandboxName), strings.Repeat("x", maxSandboxName)},
	} {
		if got := sandboxName(tt.id); got != tt.want {
			t.Errorf("sandboxName(%q) = %q, want %q", tt.id, got, tt.want)
		}
	}
	for _, id := range []string{strings.Repeat(":", 60_000), strings.Repeat("x", maxSandboxName+1)} {
		var name string
		if n := testing.AllocsPerRun(1, func() { name = sandboxName(id) }); len(name) > maxSandboxName || n > 10 {
			t.Errorf("sandboxName of %d bytes has %d, made with %v allocations", len(id), len(name), n)
		}
	}
}
