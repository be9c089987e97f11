package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

func TestLoggerLevelsAndFormats(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, level, err := newLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("left out")
	level.Set(slog.LevelError)
	log.Warn("left out too")
	level.Set(slog.LevelWarn)
	log.Warn("kept", "job", "nightly")
	var line struct{ Level, Msg, Job string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != "WARN" || line.Msg != "kept" || line.Job != "nightly" {
		t.Errorf("logged %q: %+v, %v", &out, line, err)
	}

	out.Reset()
	log, level, err = newLogger(&out, "debug", "text")
	if err != nil {
		t.Fatal(err)
	}
	if level.Level() != slog.LevelDebug {
		t.Errorf("level = %v, want debug", level.Level())
	}
	log.Debug("kept", "job", "nightly")
	if !strings.Contains(out.String(), "level=DEBUG msg=kept job=nightly\n") {
		t.Errorf("logged %q", &out)
	}

	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}, {"", "text"}} {
		if _, _, err := newLogger(&out, bad[0], bad[1]); err == nil {
			t.Errorf("newLogger(%q, %q) = nil", bad[0], bad[1])
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"zk://bob:secret@h1:2181,h2:2181/mesos":        "zk://...@h1:2181,h2:2181/mesos",
		"zk://bob:s@cret@h1:2181/mesos":                "zk://...@h1:2181/mesos",
		"dial https://key:secret@sentry.io/1: refused": "dial https://...@sentry.io/1: refused",
		`two "http://a:b@h/" and http://c@i/x`:         `two "http://...@h/" and http://...@i/x`,
		"http://h:80/a@b":                              "http://h:80/a@b",
		"mail to ops@example.com":                      "mail to ops@example.com",
		"":                                             "",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}
