package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// recordName encodes any text as one element of a ZooKeeper path. Characters that ZooKeeper
// or its Java server refuses there are percent-encoded, the rest stays readable.
// Two texts never have the same encoding.
func recordName(name string) string {
	switch name {
	case "":
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	var b strings.Builder
	for at := 0; at < len(name); {
		r, n := utf8.DecodeRuneInString(name[at:])
		if legalInName(r, n) {
			b.WriteString(name[at : at+n])
		} else {
			for _, c := range []byte(name[at : at+n]) {
				b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			}
		}
		at += n
	}
	return b.String()
}

// legalInName reports whether a rune of n bytes may stay as it is. Java sees those
// beyond the basic plane as surrogates, which ZooKeeper refuses.
func legalInName(r rune, n int) bool {
	switch {
	case r == utf8.RuneError && n == 1, r == '/', r == '%', r < ' ', r >= 0x7f && r <= 0x9f, r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0:
		return false
	}
	return true
}

// parseRecordName is the inverse of recordName. It refuses what recordName never returns.
func parseRecordName(encoded string) (string, error) {
	switch {
	case encoded == "%":
		return "", nil
	case isPlainName(encoded): // as nearly all are
		return encoded, nil
	}
	var b strings.Builder
	for at := 0; at < len(encoded); at++ {
		if encoded[at] != '%' {
			b.WriteByte(encoded[at])
			continue
		}
		c, err := strconv.ParseUint(encoded[at+1:min(at+3, len(encoded))], 16, 8)
		if err != nil {
			return "", fmt.Errorf("decode name %q: %w", encoded, err)
		}
		b.WriteByte(byte(c))
		at += 2
	}
	if name := b.String(); recordName(name) == encoded {
		return name, nil
	}
	return "", fmt.Errorf("decode name %q: not in the form that names have", encoded)
}

// isPlainName reports whether recordName certainly leaves a name as it is.
func isPlainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '/' || c == '%' {
			return false
		}
	}
	return name != "" && name != "." && name != ".."
}

// A record is one named value of the state. A nil value deletes it.
//
// Keys are J_<job>, T_<run id> and frameworkId as in the JVM versions, and
// go/job/<job>, go/run/<run id>, go/history/<job> for what has no place there.
// The part after the last slash is percent-encoded by recordName, so that a key
// has slashes only where written here.
type record struct {
	key   string
	value []byte
}

// A store keeps records durably. It is owned by one goroutine: first the one that loads the state of a term, then
// that of the term's writer. No two calls overlap.
type store interface {
	// load returns every record except for those that are read on demand. A record that can't be read is reported by a
	// *recordError among the errors joined into err, with the rest returned;
	// any other error means that nothing could be read.
	load(ctx context.Context) (map[string][]byte, error)
	// commit applies all records or none, durably, before it returns nil.
	// A *recordError says which record was refused for good (too large, say);
	// any other error leaves the outcome unknown and ends the term.
	commit(ctx context.Context, records []record) error
	// size returns how many bytes of a commit a record takes, an overestimate rather than an underestimate.
	// It may be called from any goroutine.
	size(r record) int
	// allKeys lists the records that load has found and commit has changed since, in no
	// order, those that can't be read too.
	allKeys() []string
	// read returns what is stored under each of the keys, in their order.
	// Its error is about all of them.
	read(ctx context.Context, keys []string) ([]reading, error)
}

// A stagedStore takes the next commit while one is under way, so that its servers are not idle in between.
type stagedStore interface {
	store
	// begin is a commit that returns as soon as the records are on their way; its outcome follows. They are applied after those of the
	// commit before, and not unless that one is. No key may occur twice. read may or may not return what is on its way, and no other call may be made.
	begin(ctx context.Context, records []record) <-chan error
}

// A reading is what a store holds under one key.
type reading struct {
	record       // with a nil value if there is nothing
	err    error // why the record can't be read
}

// A recordError is a definite refusal of one record.
type recordError struct {
	key string
	err error
}

func (e *recordError) Error() string { return "record " + e.key + ": " + e.err.Error() }

func (e *recordError) Unwrap() error { return e.err }

// kindOf returns <kind> for go/<kind>/<name>, and "" for a key of the JVM versions.
func kindOf(key string) string {
	rest, ok := strings.CutPrefix(key, "go/")
	if !ok {
		return ""
	}
	kind, _, _ := strings.Cut(rest, "/")
	return kind
}

// maxRecord is the most that a node may hold, in order to stay below the server's
// jute.maxbuffer (1,048,575 bytes for a whole request by default).
const maxRecord = 1_000_000

// errRecordTooLarge is why a record is refused for its size.
var errRecordTooLarge = fmt.Errorf("larger than ZooKeeper accepts (%d bytes)", maxRecord)
