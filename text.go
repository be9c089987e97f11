package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"
	"time"
	"unicode/utf8"
)

// instantLayout is how Joda writes an instant in UTC, with milliseconds.
const instantLayout = "2006-01-02T15:04:05.000Z"

func instant(t time.Time) string { return t.UTC().Format(instantLayout) }

// newUUID returns a random UUID, version 4.
func newUUID() [16]byte {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// encode returns v as JSON on one line, without the escapes that HTML would need.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only for types that have no JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// cutText cuts a text after at most that many bytes, between characters, and puts mark
// in place of what is left out.
func cutText(s string, most int, mark string) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + mark
}

// withoutURL drops the URL, which may hold a password, from an error of net/http about it.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// version is the release, stamped in by the linker (-X main.version=...).
var version = "dev"
