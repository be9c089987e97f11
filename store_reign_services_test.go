//go:build services

package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// A line of terms, one after the other, of the same tree.
type line struct {
	t       *testing.T
	hosts   []string
	root    string
	session *zkSession // of those who write there beside this program
}

func newLine(t *testing.T) *line {
	hosts, root := zktest.Shared(t)
	return &line{t, hosts, root, testSession(t, hosts)}
}

// term is one of ours, which stores records and ends. It returns what it has seen of others.
func (l *line) term(records ...record) others {
	l.t.Helper()
	st, c := lead(l.t, l.hosts, l.root)
	seen := st.others()
	mustCommit(l.t, st, records...)
	mustResign(l.t, c, st.session)
	return seen
}

// writes sets a node of the JVM versions as they do.
func (l *line) writes(name, value string) {
	l.t.Helper()
	node, data := l.root+"/state/"+name, encodeVariable(name, newUUID(), []byte(value))
	if exists, _, err := l.session.Exists(node); err != nil {
		l.t.Fatal(err)
	} else if !exists {
		plant(l.t, l.session, l.root+"/state", map[string][]byte{name: data})
		return
	}
	if _, err := l.session.Set(node, data, -1); err != nil {
		l.t.Fatal(err)
	}
}

var sampleRecords = []record{
	{frameworkIDKey, []byte("f")}, {"J_a", []byte("{}")}, {"J_b", []byte("{}")}, {"go/job/a", []byte("{}")}, {"go/run/r", []byte("{}")},
}

func TestReignOfAnotherVersionIsRemembered(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.writes(frameworkIDKey, "f")
	if seen := l.term(sampleRecords...); seen.ended != 0 || seen.lastOwn != 0 {
		t.Errorf("the first term of ours has seen %+v, want no reign: nothing of ours was there", seen)
	}
	if seen := l.term(record{"J_a", []byte("{ }")}); seen.ended != 0 || seen.lastOwn == 0 || seen.edited("a") {
		t.Errorf("the second term has seen %+v, want nothing of others", seen)
	}
	l.writes("J_a", "{  }") // by hand
	if seen := l.term(); seen.ended != 0 || !seen.edited("a") || seen.edited("b") {
		t.Errorf("after an edit by hand: %+v, edited a %t, b %t", seen, seen.edited("a"), seen.edited("b"))
	}
	begin := time.Now().UnixMilli()
	l.writes(frameworkIDKey, "f")
	l.writes("J_b", "{ }")
	seen := l.term(record{"go/run/later", []byte("{}")})
	if seen.ended < begin || !seen.rewritten("J_b") || seen.rewritten("J_a") || !seen.from("go/run/r", time.Now().Add(time.Hour).UnixMilli()) {
		t.Errorf("after a reign: %+v, rewritten b %t, a %t", seen.reign, seen.rewritten("J_b"), seen.rewritten("J_a"))
	}
	// Whoever leads later knows it too, and what is its and what came after it.
	for range 2 {
		again := l.term(record{"J_a", []byte("{}")})
		if again.ended != seen.ended || again.after != seen.after || !again.rewritten("J_b") || again.rewritten("J_a") ||
			!again.from("go/run/r", seen.ended) || again.from("go/run/later", seen.ended) {
			t.Errorf("a later term has seen %+v, want %+v and an end to it", again.reign, seen.reign)
		}
	}
}

func TestJobMadeAnewIsKnownByItsNodes(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.term(append(sampleRecords, record{"go/job/b", []byte("{}")})...)
	l.writes(frameworkIDKey, "f")
	if err := l.session.Delete(l.root+"/state/J_a", -1); err != nil {
		t.Fatal(err)
	}
	l.writes("J_a", "{}")
	l.writes("J_b", "{}")
	for _, want := range []bool{true, false} { // until its record is rewritten
		if seen := l.term(record{"go/job/a", []byte(`{"seq":2}`)}); seen.replaced("a") != want || seen.replaced("b") {
			t.Errorf("replaced: a %t, b %t, want %t, false", seen.replaced("a"), seen.replaced("b"), want)
		}
	}
}

// copyTree copies nodes as tools do: with their data, and without their history.
func copyTree(t *testing.T, session *zkSession, from, to string) {
	t.Helper()
	data, stat, err := session.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	if stat.EphemeralOwner != 0 {
		return
	}
	parent := to[:strings.LastIndex(to, "/")]
	plant(t, session, parent, map[string][]byte{to[len(parent)+1:]: data})
	names, _, err := session.Children(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		copyTree(t, session, from+"/"+name, to+"/"+name)
	}
}

func TestCopiedTreeProvesNothing(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.term(sampleRecords...)
	l.writes(frameworkIDKey, "f")
	ended := l.term().ended
	l.root, l.session = l.root+"-copy", testSession(t, l.hosts)
	copyTree(t, l.session, strings.TrimSuffix(l.root, "-copy"), l.root)
	l.writes(frameworkIDKey, "f") // last of all, as the copy might have it

	c := newTestCandidate(l.root, "127.0.0.1:1")
	st := leadIn(t, testSession(t, l.hosts), c, l.root)
	seen := st.others()
	if !st.copied || seen.ended != ended || seen.after != 0 || seen.lastOwn != 0 || seen.rewritten("J_a") || seen.replaced("a") || seen.edited("a") {
		t.Errorf("a copied tree says %+v, copied %t; want only when the reign that was known before had ended", seen, st.copied)
	}
	mustResign(t, c, st.session)
	if seen := l.term(); seen.ended != ended || seen.rewritten("J_a") {
		t.Errorf("the next term has seen %+v", seen.reign)
	}
	l.writes(frameworkIDKey, "f")
	if seen := l.term(); seen.ended <= ended || seen.after == 0 {
		t.Errorf("after a reign in the copy: %+v", seen.reign)
	}
}

func TestReignOutlastsARestore(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.term(sampleRecords...)
	b := bytes.NewReader(aBackup(t, map[string][]byte{"J_a": []byte(`{"name":"a"}`)}))
	l.writes(frameworkIDKey, "f")
	st, c := lead(t, l.hosts, l.root)
	want := st.others().reign
	if _, err := restoreInto(t.Context(), st, b, restoreOptions{replace: true}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	mustResign(t, c, st.session)
	if seen := l.term(); seen.ended != want.ended || seen.after != want.after {
		t.Errorf("after a restore: %+v, want %+v", seen.reign, want)
	}
}
