package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// An episode is from one instant to another, in ms.
type episode struct{ from, to int64 }

func (s episode) took() time.Duration { return time.Duration(s.to-s.from) * time.Millisecond }

const (
	witnessNode  = "/witness"
	witnessPause = 100 * time.Millisecond // between two writes, or two questions, to one server
)

// A witness tells when ZooKeeper served and when it did not, whatever became of its processes and
// its links: all the time it writes over each of the servers, past all links, with a session that
// outlasts every fault. As long as any of these writes is stored, ZooKeeper serves. Beside that it
// asks each server what it thinks itself, which proves nothing (a follower whose leader has
// fallen silent says for long that it follows) but shows what was wrong.
type witness struct {
	mu       sync.Mutex
	stored   []int64     // when a write was answered, in order
	zxids    []int64     // of these writes
	accounts [][]account // by server
	stalls   []episode   // in which the witness itself, which does next to nothing, was held up
}

// An account is what became of a write, or of a question.
type account struct {
	episode
	text string // "" for a write that was stored
}

// rest waits, and reports whether ctx still lasts.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// watch is the witness's work until ctx ends.
func (w *witness) watch(ctx context.Context, servers []*zktest.Server) {
	w.accounts = make([][]account, len(servers))
	var watching sync.WaitGroup
	for i, s := range servers {
		watching.Go(func() {
			for rest(ctx, witnessPause) {
				if s.Serves() {
					w.write(ctx, i, s)
				}
			}
		})
		watching.Go(func() { w.ask(ctx, i, s) })
	}
	watching.Go(func() { w.noteStalls(ctx) })
	watching.Wait()
}

// write writes over one server as long as the connection lasts.
func (w *witness) write(ctx context.Context, i int, s *zktest.Server) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	impatience := time.AfterFunc(2*time.Second, cancel)
	session, err := dialZK(ctx, []string{s.Addr}, 30*time.Second)
	if !impatience.Stop() || err != nil {
		return
	}
	defer session.Close()
	for err == nil && rest(ctx, witnessPause) {
		start := time.Now()
		stat, e := session.Set(witnessNode, nil, -1)
		if err = e; ctx.Err() == nil {
			w.note(i, start, stat, err)
		}
	}
}

func (w *witness) note(i int, start time.Time, stat *zk.Stat, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := account{episode: episode{start.UnixMilli(), time.Now().UnixMilli()}}
	if err == nil {
		w.stored, w.zxids = append(w.stored, a.to), append(w.zxids, stat.Mzxid)
	} else {
		a.text = err.Error()
	}
	if err != nil || a.took() > tortureTimeout/3 {
		w.accounts[i] = append(w.accounts[i], account{a.episode, "write " + cmp.Or(a.text, "stored")})
	}
}

// ask notes how a server's mode changes, and slow answers.
func (w *witness) ask(ctx context.Context, i int, s *zktest.Server) {
	for last := ""; rest(ctx, witnessPause); {
		start := time.Now()
		mode := s.Mode()
		took := time.Since(start)
		if mode == last && took < tortureTimeout/3 {
			continue
		}
		last = mode
		w.mu.Lock()
		w.accounts[i] = append(w.accounts[i], account{episode{start.UnixMilli(), start.Add(took).UnixMilli()}, mode})
		w.mu.Unlock()
	}
}

// noteStalls notes when the machine had no time for the witness, and so perhaps none for those it watches.
func (w *witness) noteStalls(ctx context.Context) {
	for last := time.Now(); rest(ctx, witnessPause); last = time.Now() {
		if time.Since(last) > tortureTimeout/2 {
			w.mu.Lock()
			w.stalls = append(w.stalls, episode{last.UnixMilli(), time.Now().UnixMilli()})
			w.mu.Unlock()
		}
	}
}

// outages lists when no write was stored for longer than a session lasts: a client that had all
// the servers within reach got nothing done in all that time.
func (w *witness) outages() (all []episode) {
	for i := 1; i < len(w.stored); i++ {
		if s := (episode{w.stored[i-1], w.stored[i]}); s.took() > tortureTimeout+witnessPause {
			all = append(all, s)
		}
	}
	return all
}

// broken says how ZooKeeper has broken its word, "" if it has not. What it has acknowledged is in the logs of
// most servers for good; that is not so with ZOOKEEPER-4643, which Debian's version has: a server that has
// taken part in an epoch for a moment, and has none of the transactions before it, wins the next
// election, and the others forget them. Nothing that is built on it can keep its own word then.
func (w *witness) broken(t *testing.T, servers []*zktest.Server) string {
	logged := map[int64]int{}
	for _, s := range servers {
		own := map[int64]bool{}
		s.Transactions(t, func(zxid uint64, _ int32, _ []byte) { own[int64(zxid)] = true })
		for zxid := range own {
			logged[zxid]++
		}
	}
	for _, zxid := range w.zxids {
		if logged[zxid] <= len(servers)/2 {
			return fmt.Sprintf("transaction %x was acknowledged, and is in the logs of %d servers", zxid, logged[zxid])
		}
	}
	for i, s := range servers {
		if log, err := os.ReadFile(s.Log); err != nil || bytes.Contains(log, []byte("digest mismatch")) {
			return fmt.Sprintf("server %d has another state than its leader (%v)", i, err)
		}
	}
	return ""
}

// tell words what each server had to say during an outage.
func (w *witness) tell(s episode) string {
	var out strings.Builder
	fmt.Fprintf(&out, "nothing stored for %s", s.took())
	for i, accounts := range w.accounts {
		fmt.Fprintf(&out, "; server %d:", i)
		before := ""
		for _, a := range accounts {
			switch {
			case a.to <= s.from && !strings.HasPrefix(a.text, "write "):
				before = " " + a.text + " since " + isoInstant(a.to)
			case a.to > s.from && a.from < s.to:
				fmt.Fprintf(&out, "%s %s after %s,", before, a.text, a.took())
				before = ""
			}
		}
		out.WriteString(before)
	}
	return out.String()
}

// TestSilentServerThatSaysItFollowsIsNoMajority shows why the witness writes: with the leader's
// links silent its followers serve on by their own account, and store nothing.
func TestSilentServerThatSaysItFollowsIsNoMajority(t *testing.T) {
	t.Parallel()
	servers, quorum := zktest.StartLinkedEnsemble(t, 3)
	if err := mkdirAll(zkSession(t, servers[0].Addr), witnessNode); err != nil {
		t.Fatal(err)
	}
	var w witness
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(ctx, servers) })
	until(t, "the witness writes", func() bool { return w.lastStored() > 0 })
	leader := zktest.Leader(servers)
	begin := time.Now()
	quorum.Around(leader).Set(zktest.Silent)
	time.Sleep(tortureTimeout / 2)
	mode := servers[(leader+1)%3].Mode()
	if given := time.Since(begin); mode != "follower" && given < silenceLimit {
		t.Errorf("a follower of the silent leader says after %s: %s, want follower", given, mode)
	}
	until(t, "the others have given the silent leader up, and store again", func() bool { return w.outageSince(begin) })
	end := time.Now()
	quorum.Around(leader).Set(zktest.Open)
	until(t, "the witness writes again", func() bool { return w.lastStored() > end.UnixMilli() })
	cancel()
	watching.Wait()
	for _, s := range w.outages() {
		t.Log(w.tell(s))
	}
	if how := w.broken(t, servers); how != "" {
		t.Errorf("ZooKeeper has broken its word: %s", how)
	}
	w.zxids = append(w.zxids, 0x7fffffff)
	if w.broken(t, servers) == "" {
		t.Error("a write that no server knows is not missed")
	}
}

// silenceLimit is after how long servers of an ensemble give each other up.
const silenceLimit = 10 * zktest.Tick

// lastStored returns when the last write was answered, 0 if none was.
func (w *witness) lastStored() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.stored) == 0 {
		return 0
	}
	return w.stored[len(w.stored)-1]
}

// outageSince reports whether an outage has begun about then or later, and is over.
func (w *witness) outageSince(begin time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.outages(), func(s episode) bool {
		return s.to > begin.UnixMilli() && s.from >= begin.Add(-witnessPause).UnixMilli()
	})
}
