package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// A pictureWriter is a writer at work, with a copy of what is stored.
type pictureWriter struct {
	*writer
	t      *testing.T
	stored map[string][]byte
}

func startWriter(t *testing.T, st store) *pictureWriter {
	t.Helper()
	owned := &ownedStore{store: st}
	records, err := owned.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &pictureWriter{newWriter(owned, maxBatchSize, func([]viewChange, viewTotals) {}, slog.New(slog.DiscardHandler)), t, records}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// commit stores records as one change.
func (w *pictureWriter) commit(records ...record) {
	w.t.Helper()
	stored := make(chan error, 1)
	w.enqueue(&change{records: records, effects: []func(error){func(err error) { stored <- err }}})
	if err := <-stored; err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		if r.value == nil {
			delete(w.stored, r.key)
		} else {
			w.stored[r.key] = r.value
		}
	}
}

// A halfBackup is a picture that is handed out bit by bit, and what it must show.
type halfBackup struct {
	*picture
	want, got map[string][]byte
	last      string
}

func (w *pictureWriter) begin(sh *share) *halfBackup {
	w.t.Helper()
	p, err := w.picture(w.t.Context(), sh)
	if err != nil {
		w.t.Fatal(err)
	}
	want := maps.Clone(w.stored)
	maps.DeleteFunc(want, func(key string, _ []byte) bool { return transient(key) })
	return &halfBackup{picture: p, want: want, got: map[string][]byte{}}
}

// step takes one page, and reports whether it was the last.
func (b *halfBackup) step(t *testing.T) bool {
	t.Helper()
	page, err := b.page(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		if r.key <= b.last || r.err != nil {
			t.Errorf("record %q after %q (%v), want them in order, each once", r.key, b.last, r.err)
		}
		b.last = r.key
		b.got[r.key] = r.value
	}
	if len(page) > 0 {
		return false
	}
	if !maps.EqualFunc(b.got, b.want, bytes.Equal) {
		t.Errorf("a picture has %d records, and not what the %d were at its commit", len(b.got), len(b.want))
	}
	b.close()
	return true
}

// picturesHold takes pictures of a store while random commits go on.
func picturesHold(t *testing.T, st store, commits int) {
	seed := *firstSeed
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := startWriter(t, st)
	var first []record
	for i := range 4 * pictureKeys {
		first = append(first, put(fmt.Sprintf("J_%03d", i), "first"))
	}
	w.commit(append(first, put("go/request/x", "no part of it"))...)
	memory := newBudget(64 << 20)
	var under []*halfBackup
	done := 0
	for n := range commits {
		var records []record
		for range r.IntN(40) {
			key := fmt.Sprintf("%s%03d", []string{"J_", "J_", "T_", "go/job/", "go/strange/"}[r.IntN(5)], r.IntN(6*pictureKeys))
			if r.IntN(3) == 0 {
				records = append(records, record{key: key})
				continue
			}
			records = append(records, put(key, strings.Repeat("v", r.IntN(2000))+fmt.Sprint(n)))
		}
		w.commit(lastOfEach(records)...)
		if len(under) < 3 {
			under = append(under, w.begin(memory.share()))
		}
		i := r.IntN(len(under))
		if under[i].step(t) {
			under = append(under[:i], under[i+1:]...)
			done++
		}
	}
	for _, b := range under {
		for !b.step(t) {
		}
		b.share.end()
		done++
	}
	if len(w.pictures) != 0 || done < 3 {
		t.Errorf("%d pictures were completed, %d are still kept for", done, len(w.pictures))
	}
}

// However a store is written to, a picture shows what it held at one commit: that after which it was begun.
func TestPicturesAreOfOneCommit(t *testing.T) {
	t.Parallel()
	t.Run("in memory", func(t *testing.T) { picturesHold(t, newMemStore(), inForm(400, 20_000)) })
	t.Run("in a file", func(t *testing.T) {
		s := openTestStore(t, t.TempDir())
		s.slack = 100 << 10 // so that the file is rewritten under them
		picturesHold(t, s, inForm(200, 5000))
	})
}

// What a picture keeps for a client that does not read is bounded. It is the picture that fails, and not the commit.
func TestPictureOfASlowReaderIsGivenUp(t *testing.T) {
	t.Parallel()
	w := startWriter(t, newMemStore())
	large := strings.Repeat("x", 1000)
	for i := range 200 {
		w.commit(put(fmt.Sprintf("J_%03d", i), large))
	}
	memory := newBudget(100 << 10)
	slow, quick := memory.share(), memory.share()
	held := w.begin(slow)
	for i := range 200 {
		w.commit(put(fmt.Sprintf("J_%03d", i), "changed"))
	}
	if _, err := held.page(t.Context()); !errors.Is(err, errNoRoom) {
		t.Errorf("the next page = %v, want %v", err, errNoRoom)
	}
	held.close()
	slow.end()
	for b := w.begin(quick); !b.step(t); {
	}
	quick.end()
	if used := memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are taken at the end, want none", used)
	}
}

// A damaged record costs a backup that record.
func TestPictureNamesWhatIsDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	w := startWriter(t, s)
	w.commit(put("J_a", "1"), put("J_b", "will be damaged"), put("J_c", "3"))
	at := s.index["J_b"]
	at.sum++ // what is read is not what was written
	s.index["J_b"] = at
	p, err := w.picture(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	page, err := p.page(t.Context())
	if err != nil || len(page) != 3 || page[0].err != nil || !errors.Is(page[1].err, errBadFrame) || page[2].err != nil {
		t.Errorf("page() = %+v, %v, want the second of three records damaged", page, err)
	}
}

func TestPictureEndsWithTheTerm(t *testing.T) {
	t.Parallel()
	st := newMemStore()
	w := newWriter(st, maxBatchSize, func([]viewChange, viewTotals) {}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	p, err := w.picture(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.keys = []string{"J_a"}
	cancel()
	running.Wait()
	if _, err := p.page(t.Context()); !errors.Is(err, errNoLeader) {
		t.Errorf("page() after the term = %v, want %v", err, errNoLeader)
	}
	p.close()
	if _, err := w.picture(t.Context(), nil); !errors.Is(err, errNoLeader) {
		t.Errorf("picture() after the term = %v, want %v", err, errNoLeader)
	}
}
