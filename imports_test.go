package main

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The pure files take values and the present instant and return values: they do no
// I/O, log nothing, and never ask for the time. One package enforces nothing,
// so this does.
func TestPureFilesStayPure(t *testing.T) {
	pure := []string{
		"schedule_iso8601", "schedule", "schedule_cron", "schedule_zone", "job", "job_json", "job_decode", "job_decode_parts", "job_check", "job_value",
		"graph", "task", "task_container", "offers", "market", "constraint", "run", "store_encoding", "name", "scheduler_view", "scheduler_queue", "scheduler_alarms",
	}
	forbidden := []string{"net", "os", "context", "log", "io", "syscall", "github.com/go-zookeeper"}
	for _, name := range pure {
		text, err := os.ReadFile(name + ".go")
		if err != nil {
			t.Error(err)
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name+".go", text, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, spec := range f.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			for _, bad := range forbidden {
				if path == bad || strings.HasPrefix(path, bad+"/") {
					t.Errorf("%s.go imports %q", name, path)
				}
			}
		}
		if strings.Contains(string(text), "time.Now(") {
			t.Errorf("%s.go asks for the time", name)
		}
	}
}
