package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxBackup bounds the document of a backup, which is held in memory.
const maxBackup = 1 << 30

const (
	backupWord   = "state" // of Chronos: tells a backup from other documents
	backupFormat = 1

	// entryOverhead is what a record's node takes besides its key and value, at most.
	nodeOverhead = 48
)

// A backup is the whole state at one instant, as one document.
type backup struct {
	Chronos string         `json:"chronos"`
	Format  int            `json:"format"`
	Version string         `json:"version"` // of the program that made it
	Term    int64          `json:"term,omitempty"`
	At      string         `json:"at"`
	Records []backupRecord `json:"records"` // by key
	// Records that could not be read, and so are missing above.
	Unreadable []unreadableRecord `json:"unreadable,omitempty"`
}

// A backupRecord is one record: what is UTF-8 as text, other values in base64.
type backupRecord struct {
	Key    string  `json:"key"`
	Text   *string `json:"text,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
}

type unreadableRecord struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// newBackup makes a backup of what a store's load returned, the error of which may only be about
// single records. The answers to past requests are left out: nobody repeats a request after a restore.
func newBackup(records map[string][]byte, err error, term int64, at time.Time) (*backup, error) {
	b := &backup{Chronos: backupWord, Format: backupFormat, Version: version, Term: term, At: instant(at.UTC())}
	if b.Unreadable, err = unreadableOf(err); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if transient(key) {
			continue
		}
		r := backupRecord{Key: key}
		if value := records[key]; utf8.Valid(value) && !strings.ContainsRune(string(value), 0) {
			text := string(value)
			r.Text = &text
		} else {
			r.Base64 = value
		}
		b.Records = append(b.Records, r)
	}
	return b, nil
}

// transient reports whether a record is about the moment and no part of a backup.
func transient(key string) bool {
	return strings.HasPrefix(key, "go/request/") || strings.HasPrefix(key, restorePrefix)
}

// unreadableOf takes the errors about single records out of a store's error, and returns the others.
func unreadableOf(err error) (single []unreadableRecord, other error) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if e, ok := errors.AsType[*recordError](err); ok {
			single = append(single, unreadableRecord{e.key, e.err.Error()})
		} else {
			other = errors.Join(other, err)
		}
	}
	return single, other
}

// write writes the document, one record per line.
func (b *backup) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	head := *b
	head.Records, head.Unreadable = nil, nil
	text := strings.TrimSuffix(string(encode(head)), `"records":null}`)
	out.WriteString(text)
	out.WriteString(`"records":[`)
	for i, r := range b.Records {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		out.Write(encode(r))
	}
	out.WriteString("\n]")
	if len(b.Unreadable) > 0 {
		out.WriteString(",\n\"unreadable\":")
		out.Write(encode(b.Unreadable))
	}
	out.WriteString("}\n")
	return out.Flush()
}

// readBackup reads and checks a document that write has made.
func readBackup(r io.Reader) (*backup, error) {
	b := &backup{}
	d := json.NewDecoder(r)
	if err := d.Decode(b); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	switch {
	case b.Chronos != backupWord:
		return nil, errors.New(`this is no backup: "chronos" is not "` + backupWord + `"`)
	case b.Format != backupFormat:
		return nil, fmt.Errorf("the backup has format %d; this program knows format %d", b.Format, backupFormat)
	}
	seen := make(map[string]bool, len(b.Records))
	for _, r := range b.Records {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("record %q of the backup: %w", r.Key, err)
		}
		if seen[r.Key] {
			return nil, fmt.Errorf("record %q is in the backup twice", r.Key)
		}
		seen[r.Key] = true
	}
	return b, nil
}

func (r backupRecord) value() []byte {
	if r.Text != nil {
		return []byte(*r.Text)
	}
	return r.Base64
}

// check refuses what no store takes, before anything is changed.
func (r backupRecord) check() error {
	name := r.Key
	kind := kindOf(r.Key)
	switch {
	case kind == "term" || kind == "instances" || transient(r.Key):
		return errors.New("it is no part of the state")
	case kind != "":
		name = strings.TrimPrefix(r.Key, "go/"+kind+"/")
	case r.Key != frameworkIDKey && !strings.HasPrefix(r.Key, "J_") && !strings.HasPrefix(r.Key, "T_"):
		return errors.New("unknown kind of record")
	}
	const invisible = "\ufffd"
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/"+invisible) || strings.ContainsFunc(r.Key, unicode.IsControl) {
		return errors.New("no store takes this key")
	}
	if r.Text != nil && r.Base64 != nil {
		return errors.New("it has both a text and base64")
	}
	if len(r.Key)+len(r.value())+nodeOverhead > maxRecord {
		return errRecordTooLarge
	}
	return nil
}

// jobs is how many jobs the backup holds.
func (b *backup) jobs() int {
	n := 0
	for _, r := range b.Records {
		if strings.HasPrefix(r.Key, "J_") {
			n++
		}
	}
	return n
}

// backup reads the whole state from the store, between two commits.
func (s *scheduler) backup(ctx context.Context) (*backup, error) {
	var b *backup
	var failed error
	err := s.do(ctx, func() error {
		// Effects run in the goroutine that commits.
		s.after(func() {
			records, err := s.store.load(ctx)
			b, failed = newBackup(records, err, s.cfg.term, time.Now())
		})
		return nil
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return b, nil
}
