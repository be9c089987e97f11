package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBackupCommandsOnADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to, file := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "backup.json")
	st, err := openFileStore(from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range aState() {
		if err := st.commit(t.Context(), []record{{key, value}}); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) (said string, status int) {
		var out strings.Builder
		err := run(t.Context(), args, strings.NewReader(""), &out, &out)
		return out.String(), exitStatus(err)
	}
	if said, status := command("backup", "--data_dir", from); status != 1 || !strings.Contains(said, "in use") {
		t.Errorf("backup of a directory in use = %d %q, want 1", status, said)
	}
	st.Close()
	none, two, same, empty := filepath.Join(dir, "none.json"), filepath.Join(dir, "two.json"), filepath.Join(dir, "same.json"), filepath.Join(dir, "empty")
	nothing := aBackup(t, nil)
	for name, document := range map[string][]byte{none: nothing, two: slices.Concat(aBackup(t, aState()), nothing)} {
		if err := os.WriteFile(name, document, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		args   string
		status int
		says   string
	}{
		{"backup --data_dir " + to, 1, "no such file"},
		{"backup --data_dir " + from + " --output " + file, 0, ""},
		{"restore --data_dir " + to + " " + file, 0, "restored 2 jobs as of "},
		{"restore --data_dir " + to + " " + file, 1, "replace"},
		{"restore --replace --data_dir " + to + " " + file, 0, "restored 2 jobs as of "},
		{"restore --replace --data_dir " + to + " " + none, 1, "empty=true"},
		{"restore --replace --data_dir " + to + " " + two, 1, "there is more after the end"},
		{"backup --data_dir " + to + " --output " + same, 0, ""},
		{"restore --replace --empty --data_dir " + empty + " " + none, 0, "restored 0 jobs"},
		{"restore --data_dir " + to, 1, "usage: chronos restore [options] file"},
		{"restore --help", 0, "usage: chronos restore [options] file"},
		{"backup --url nowhere", 1, "want http://host:port"},
	} {
		if said, status := command(strings.Fields(step.args)...); status != step.status || !strings.Contains(said, step.says) {
			t.Errorf("chronos %s = %d %q, want %d %q", step.args, status, said, step.status, step.says)
		}
	}
	restored, _ := command("backup", "--data_dir", to)
	saved, err := os.ReadFile(file)
	if err != nil || recordLines(restored) != recordLines(string(saved)) || recordLines(restored) == "" {
		t.Errorf("restored %s, want %s (%v)", restored, saved, err)
	}
}
