package main

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// newLogger makes the log that every part writes to. level is debug, info, warn or
// error; format is text or json.
// The level returned can be changed while the log is in use.
func newLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	least := new(slog.LevelVar)
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), least, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), least, nil
	}
	return nil, nil, fmt.Errorf("log format %q: want text or json", format)
}

// urlCredentials are the user:password@ of a URL. The @ sought is the last one before the
// path, since passwords are seldom escaped as they should be.
var urlCredentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"']*@`)

// redact replaces the credentials in every URL of a text, so that it can be logged.
func redact(s string) string { return urlCredentials.ReplaceAllString(s, "${1}...@") }
