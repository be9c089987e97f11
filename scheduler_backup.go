package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxBackup bounds the document of a backup.
	maxBackup = 1 << 30

	backupWord   = "state" // distinguishes a backup from other documents
	backupFormat = 1

	// nodeOverhead is what a record's node takes besides its key and value, at most.
	nodeOverhead = 48

	// recordMemory is roughly what a record takes in memory besides its key and value.
	recordMemory = 256

	// maxToken is the longest text in a document: a value every byte of which is escaped.
	maxToken = 6*maxRecord + 4096
)

// A backupHead is how the document of a backup begins. The records follow, one
// per line in the order of their keys, and then what could not be read.
type backupHead struct {
	Chronos string `json:"chronos"`
	Format  int64  `json:"format"`
	Version string `json:"version"` // of the program that made it
	Term    int64  `json:"term,omitempty"`
	At      string `json:"at"`
}

func newBackupHead(term int64, at time.Time) backupHead {
	return backupHead{Chronos: backupWord, Format: backupFormat, Version: version, Term: term, At: instant(at)}
}

// A backupRecord is one record: values in UTF-8 as text, others in base64.
type backupRecord struct {
	Key    string  `json:"key"`
	Text   *string `json:"text,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
}

type unreadableRecord struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// transient reports whether a record is short-lived and not part of a backup: nobody
// repeats a request after a restore.
func transient(key string) bool {
	return strings.HasPrefix(key, "go/request/") || strings.HasPrefix(key, restorePrefix)
}

// writeBackup writes the document of a backup. next returns the records, some at a time, and none at the end.
func writeBackup(w io.Writer, head backupHead, next func() ([]reading, error)) error {
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(strings.TrimSuffix(string(encode(head)), "}") + `,"records":[`)
	separator := "\n"
	var unreadable []unreadableRecord
	for {
		page, err := next()
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if r.err != nil {
				unreadable = append(unreadable, unreadableRecord{r.key, r.err.Error()})
				continue
			}
			out.WriteString(separator)
			separator = ",\n"
			if _, err := out.Write(encode(describeRecord(r.record))); err != nil {
				return err // here, so that nothing is read for a client that has gone
			}
		}
	}
	out.WriteString("\n]")
	if len(unreadable) > 0 {
		out.WriteString(",\n\"unreadable\":")
		out.Write(encode(unreadable))
	}
	out.WriteString("}\n")
	return out.Flush()
}

func describeRecord(r record) backupRecord {
	d := backupRecord{Key: r.key}
	if text := string(r.value); utf8.ValidString(text) && !strings.ContainsRune(text, 0) {
		d.Text = &text
	} else {
		d.Base64 = r.value
	}
	return d
}

// storedPages hands out the contents of a store that nobody else uses.
func storedPages(ctx context.Context, st store) func() ([]reading, error) {
	keys := slices.DeleteFunc(st.allKeys(), transient)
	slices.Sort(keys)
	return func() ([]reading, error) {
		n := min(pictureKeys, len(keys))
		page, err := st.read(ctx, keys[:n])
		keys = keys[n:]
		return page, err
	}
}

// A backup is a picture of the whole state on its way into a document.
type backup struct {
	head    backupHead
	picture *picture
	first   []reading // the first page, read before anything is answered
}

// backup begins a backup of the state as it is stored now. It must be closed.
func (s *scheduler) backup(ctx context.Context, sh *share) (*backup, error) {
	p, err := s.writer.picture(ctx, sh)
	if err != nil {
		return nil, err
	}
	b := &backup{head: newBackupHead(s.cfg.term, time.Now()), picture: p}
	if b.first, err = p.page(ctx); err != nil {
		p.close()
		return nil, err
	}
	return b, nil
}

func (b *backup) close() { b.picture.close() }

func (b *backup) write(ctx context.Context, w io.Writer) error {
	return writeBackup(w, b.head, func() ([]reading, error) {
		if page := b.first; page != nil {
			b.first = nil
			return page, nil
		}
		return b.picture.page(ctx)
	})
}

// A backupError says what is wrong with the document of a backup, and where.
type backupError struct {
	offset int64
	err    error
}

func (e *backupError) Error() string {
	return fmt.Sprintf("the backup is wrong at byte %d: %v", e.offset, e.err)
}

func (e *backupError) Unwrap() error { return e.err }

// errStateTooLarge means that this process has too little memory for the state in a backup.
var errStateTooLarge = errors.New("the state in the backup takes more than a quarter of the memory that this process has")

// A backupSummary is what a document says about itself, and what it holds.
type backupSummary struct {
	backupHead
	jobs int
	size int64 // of the state, about
}

// readBackup reads and checks a document that writeBackup has made, and hands its records to visit,
// which may be nil. It holds one record at a time, and the keys of the others. Faults of the document
// are a *backupError; errors of document and visit are returned as they are.
func readBackup(document io.Reader, sh *share, visit func(record) error) (backupSummary, error) {
	in := &tokenSource{from: document}
	b := &backupReader{in: in, d: json.NewDecoder(in), share: sh, seen: map[string]bool{}, visit: visit}
	b.d.UseNumber()
	defer func() { sh.shrink(b.held) }()
	err := b.document()
	return b.backupSummary, err
}

// A tokenSource lets the decoder read no more than maxToken for one token.
type tokenSource struct {
	from io.Reader
	left int
	err  error // of from
}

var errLongToken = fmt.Errorf("a text of more than %d bytes", maxToken)

func (t *tokenSource) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, errLongToken
	}
	n, err := t.from.Read(p[:min(len(p), t.left)])
	t.left -= n
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// A backupReader reads a document token by token: that bounds what it holds, and reveals keys
// that occur twice in an object.
type backupReader struct {
	backupSummary
	in     *tokenSource
	d      *json.Decoder
	share  *share
	seen   map[string]bool // keys of records
	held   int64           // bytes of the share
	visit  func(record) error
	passed error // from visit, or for lack of memory
}

// wrong returns err as a fault of the document, unless it comes from elsewhere.
func (b *backupReader) wrong(err error) error {
	if e, ok := errors.AsType[*backupError](err); ok {
		return e // from further inside
	}
	if elsewhere := cmp.Or(b.passed, b.in.err); elsewhere != nil {
		return elsewhere
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &backupError{b.d.InputOffset(), err}
}

func (b *backupReader) document() error {
	err := b.object(map[string]func() error{
		"chronos": func() error { return b.text(&b.Chronos) },
		"format":  func() error { return b.number(&b.Format) },
		"version": func() error { return b.text(&b.Version) },
		"term":    func() error { return b.number(&b.Term) },
		"at":      func() error { return b.text(&b.At) },
		"records": func() error { return b.list(b.record) },
		"unreadable": func() error {
			return b.list(func() error {
				var ignored string
				return b.object(map[string]func() error{
					"key": func() error { return b.text(&ignored) }, "reason": func() error { return b.text(&ignored) },
				})
			})
		},
	})
	switch {
	case err != nil:
		return err
	case b.Chronos != backupWord:
		return b.wrong(errors.New(`this is not a backup: "chronos" is not "` + backupWord + `"`))
	case b.Format != backupFormat:
		return b.wrong(fmt.Errorf("it has format %d; this program knows format %d", b.Format, backupFormat))
	}
	at := b.d.InputOffset()
	b.in.left = maxToken
	if _, err := b.d.Token(); err != io.EOF {
		if b.in.err != nil {
			return b.in.err
		}
		return &backupError{at, errors.New("there is more after the end of the document")}
	}
	return nil
}

// token returns the next token.
func (b *backupReader) token() (json.Token, error) {
	b.in.left = maxToken
	t, err := b.d.Token()
	if err != nil {
		return nil, b.wrong(err)
	}
	return t, nil
}

// expect reads a token that must be the one given.
func (b *backupReader) expect(want json.Delim, what string) error {
	t, err := b.token()
	if err == nil && t != want {
		err = b.wrong(fmt.Errorf("%v, want %s", t, what))
	}
	return err
}

// object reads an object that has no keys but those of members, each at most once.
func (b *backupReader) object(members map[string]func() error) error {
	if err := b.expect('{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for b.more() {
		t, err := b.token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // the decoder accepts nothing else as a key
		member := members[key]
		switch {
		case member == nil:
			return b.wrong(fmt.Errorf("unknown key %q", cutText(key, 100, "…")))
		case seen[key]:
			return b.wrong(fmt.Errorf("key %q for the second time", key))
		}
		seen[key] = true
		if err := member(); err != nil {
			return err
		}
	}
	return b.expect('}', "the end of the object")
}

func (b *backupReader) more() bool {
	b.in.left = maxToken
	return b.d.More()
}

func (b *backupReader) list(item func() error) error {
	if err := b.expect('[', "a list"); err != nil {
		return err
	}
	for b.more() {
		if err := item(); err != nil {
			return err
		}
	}
	return b.expect(']', "the end of the list")
}

func (b *backupReader) text(into *string) error {
	t, err := b.token()
	if err != nil {
		return err
	}
	text, ok := t.(string)
	if !ok {
		return b.wrong(fmt.Errorf("%v, want a text", t))
	}
	*into = text
	return nil
}

func (b *backupReader) number(into *int64) error {
	t, err := b.token()
	if err != nil {
		return err
	}
	n, ok := t.(json.Number)
	if !ok {
		return b.wrong(fmt.Errorf("%v, want a number", t))
	}
	if *into, err = n.Int64(); err != nil {
		return b.wrong(fmt.Errorf("%s is not a whole number", n))
	}
	return nil
}

// record reads one record, checks it and hands it on.
func (b *backupReader) record() error {
	var key, text, packed string
	var given []string
	member := func(name string, into *string) func() error {
		return func() error { given = append(given, name); return b.text(into) }
	}
	err := b.object(map[string]func() error{"key": member("key", &key), "text": member("text", &text), "base64": member("base64", &packed)})
	if err != nil {
		return err
	}
	r := record{key, []byte(text)}
	switch hasText, hasPacked := slices.Contains(given, "text"), slices.Contains(given, "base64"); {
	case hasText && hasPacked:
		err = errors.New("it has both a text and base64")
	case hasPacked:
		r.value, err = base64.StdEncoding.DecodeString(packed)
	case !hasText:
		err = errors.New("it has neither a text nor base64")
	}
	if err == nil {
		err = checkRestorable(r)
	}
	if err == nil && b.seen[key] {
		err = errors.New("it is in the backup twice")
	}
	if err != nil {
		return b.wrong(fmt.Errorf("record %q: %w", cutText(key, 300, "…"), err))
	}
	return b.take(r)
}

// take records a valid record, and hands it on.
func (b *backupReader) take(r record) error {
	b.seen[r.key] = true
	noted := int64(len(r.key)) + 64
	if !b.share.grow(noted) {
		b.passed = errNoRoom
		return b.passed
	}
	b.held += noted
	b.size += int64(len(r.key)+len(r.value)) + recordMemory
	if most := b.share.whole(); most >= 0 && b.size > most {
		b.passed = fmt.Errorf("%w (%d MiB)", errStateTooLarge, most>>20)
		return b.passed
	}
	if strings.HasPrefix(r.key, "J_") {
		b.jobs++
	}
	if b.visit != nil {
		b.passed = b.visit(r)
	}
	return b.passed
}

// checkRestorable refuses what no store accepts, before anything is changed.
func checkRestorable(r record) error {
	name := r.key
	kind := kindOf(r.key)
	switch {
	case kind == "term" || kind == "instances" || transient(r.key):
		return errors.New("it is not part of the state")
	case kind != "":
		name = strings.TrimPrefix(r.key, "go/"+kind+"/")
	case r.key != frameworkIDKey && !strings.HasPrefix(r.key, "J_") && !strings.HasPrefix(r.key, "T_"):
		return errors.New("unknown kind of record")
	}
	const invisible = "\ufffd"
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/"+invisible) || strings.ContainsFunc(r.key, unicode.IsControl) {
		return errors.New("no store accepts this key")
	}
	if len(r.key)+len(r.value)+nodeOverhead > maxRecord {
		return errRecordTooLarge
	}
	return nil
}
