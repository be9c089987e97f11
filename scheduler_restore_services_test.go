//go:build services

package main

import (
	"bytes"
	"log/slog"
	"maps"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

func TestRestoreIntoZooKeeper(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	st, _ := lead(t, hosts, root)
	want := largeState(1200)
	for _, state := range []map[string][]byte{aState(), want} {
		if _, err := st.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := restoreInto(t.Context(), st, bytes.NewReader(aBackup(t, state)), restoreOptions{replace: true}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := st.load(t.Context())
	want["frameworkId"] = aState()["frameworkId"]
	if err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("ZooKeeper holds %d records, %v, want the %d of the backup", len(got), err, len(want))
	}
}
