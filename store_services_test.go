//go:build services

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// refused checks that commit blames key, with an error that is want.
func refused(t *testing.T, err error, key string, want error) {
	t.Helper()
	if blamed, ok := errors.AsType[*recordError](err); !ok || blamed.key != key || !errors.Is(err, want) {
		t.Errorf("commit = %v, want record %s: %v", err, key, want)
	}
}

func TestZKStoreKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, c := lead(t, hosts, root)
	wantRecords(t, s, map[string]string{})
	mustCommit(t, s, put("J_a b#c.d", "1"), put("J_b", "2"), put("frameworkId", "\n\x02id"), put("T_"+recordName("ct:1:0:a:/x"), "{}"))
	mustCommit(t, s, put("go/job/a", ""), put("go/job/b", "x"), put("go/run/"+recordName("ct:1:0:a:/x"), "run"))
	mustCommit(t, s, put("J_a b#c.d", "3"), record{key: "J_b"}, record{key: "J_never"}, put("go/job/b", "y"))
	mustCommit(t, s)
	mustCommit(t, s, put("J_c", "4"), record{key: "J_c"}, put("J_c", "5"), put("J_d", "6"), record{key: "J_d"})
	want := map[string]string{
		"J_a b#c.d": "3", "J_c": "5", "frameworkId": "\n\x02id", "T_ct:1:0:a:%2Fx": "{}",
		"go/job/a": "", "go/job/b": "y", "go/run/ct:1:0:a:%2Fx": "run",
	}
	wantRecords(t, s, want)
	mustResign(t, c, s.session)
	next, _ := lead(t, hosts, root)
	wantRecords(t, next, want)
}

// A leader deletes and replaces segments that it has not read.
func TestZKStoreReadsSegmentsOnDemand(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, c := lead(t, hosts, root)
	wantOnDemand(t, s, map[string]string{})
	const first, second, third = segmentPrefix + "1_2_2_0_0_1", segmentPrefix + "3_4_2_0_0_1", segmentPrefix + "5_6_2_0_0_1"
	mustCommit(t, s, put("J_a", "1"), put(first, "x"), put(second, "y"))
	mustResign(t, c, s.session)
	next, _ := lead(t, hosts, root)
	wantOnDemand(t, next, map[string]string{first: "x", second: "y"})
	mustCommit(t, next, record{key: first}, put(second, "z"), put(third, "u"))
	mustCommit(t, next, put(second, "v"), record{key: third})
	wantOnDemand(t, next, map[string]string{second: "v"})
}

// What JVM versions list and read is as they would have written it.
func TestZKStoreWritesTheJVMsLayout(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, _ := lead(t, hosts, root)
	mustCommit(t, s, put("J_a", "{}"), put("frameworkId", "\n\x02id"), put("go/job/a", "ours"))
	names, _, err := s.session.Children(root + "/state")
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"J_a", "frameworkId"}) {
		t.Errorf("children of state = %q, %v", names, err)
	}
	uuids := map[string]bool{}
	for range 3 {
		data, _, err := s.session.Get(root + "/state/J_a")
		if err != nil {
			t.Fatal(err)
		}
		e, err := decodeVariable(data)
		if err != nil || e.name != "J_a" || len(e.uuid) != 16 || e.uuid[6]>>4 != 4 || e.uuid[8]>>6 != 2 {
			t.Fatalf("decodeVariable = %q, %v, want J_a with a version 4 UUID", e, err)
		}
		uuids[string(e.uuid)] = true
		mustCommit(t, s, put("J_a", "{}"))
	}
	if len(uuids) != 3 {
		t.Errorf("three writes made %d UUIDs", len(uuids))
	}
}

func TestZKStoreLoadsWhatJVMVersionsWrote(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.4", "2.5", "3.0"} {
		t.Run(version, func(t *testing.T) {
			hosts, root := zktest.Shared(t)
			corpus := stateCorpus(t, version)
			plant(t, testSession(t, hosts), root+"/state", corpus)
			s, _ := lead(t, hosts, root)
			records, err := s.load(t.Context())
			if err != nil || !slices.Equal(keysOf(records), keysOf(corpus)) {
				t.Fatalf("load() = %q, %v, want %q", keysOf(records), err, keysOf(corpus))
			}
			for key, value := range records {
				if e, err := decodeVariable(corpus[key]); err != nil || !bytes.Equal(e.value, value) {
					t.Errorf("record %q = %q, want %q (%v)", key, value, e.value, err)
				}
				mustCommit(t, s, record{key, value})
			}
		})
	}
}

func TestZKStoreReportsAndKeepsWhatItCannotDecode(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	corpus := stateCorpus(t, "odd")
	plant(t, session, root+"/state", corpus)
	s := takeOffice(t, session, newTestCandidate(root, "127.0.0.1:1"), root)
	records, err := s.load(t.Context())
	if want := []string{"J_not-json", "J_other-order"}; !slices.Equal(keysOf(records), want) {
		t.Errorf("load() = %q, want %q", keysOf(records), want)
	}
	for _, key := range []string{"J_empty", "J_not-an-entry", "J_no-uuid", "J_cut-short"} {
		if err == nil || !strings.Contains(err.Error(), "record "+key+": ") {
			t.Errorf("load() = %v, want an error about %s", err, key)
		}
	}
	for name, data := range corpus {
		if now, _, err := session.Get(root + "/state/" + name); err != nil || !bytes.Equal(now, data) {
			t.Errorf("node %q is %q, %v, want it unchanged", name, now, err)
		}
	}
	mustCommit(t, s, put("J_empty", "{}"), record{key: "J_no-uuid"}) // by an operator's order
	if again, _ := s.load(t.Context()); string(again["J_empty"]) != "{}" {
		t.Errorf("J_empty = %q after it was written", again["J_empty"])
	}
}

// A commit is refused as a whole, and names the record, when somebody else has
// changed one of its nodes. A deleted node is not resurrected.
func TestZKStoreNoticesForeignWriters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		meddle func(z *zkSession, dir string) error
		commit record
		want   error
	}{
		{"changed", func(z *zkSession, dir string) error {
			_, err := z.Set(dir+"/J_a", encodeVariable("J_a", corpusUUID, nil), -1)
			return err
		}, put("J_a", "2"), zk.ErrBadVersion},
		{"changed before a delete", func(z *zkSession, dir string) error {
			_, err := z.Set(dir+"/J_a", encodeVariable("J_a", corpusUUID, nil), -1)
			return err
		}, record{key: "J_a"}, zk.ErrBadVersion},
		{"deleted", func(z *zkSession, dir string) error { return z.Delete(dir+"/J_a", -1) }, put("J_a", "2"), zk.ErrNoNode},
		{"created", func(z *zkSession, dir string) error {
			_, err := z.Create(dir+"/J_b", encodeVariable("J_b", corpusUUID, nil), 0, z.acl)
			return err
		}, put("J_b", "2"), zk.ErrNodeExists},
		{"locked", func(z *zkSession, dir string) error {
			_, err := z.SetACL(dir+"/J_a", zk.WorldACL(zk.PermRead), -1)
			return err
		}, put("J_a", "2"), zk.ErrNoAuth},
	} {
		t.Run(test.name, func(t *testing.T) {
			hosts, root := zktest.Shared(t)
			s, _ := lead(t, hosts, root)
			mustCommit(t, s, put("J_a", "1"))
			if err := test.meddle(testSession(t, hosts), root+"/state"); err != nil {
				t.Fatal(err)
			}
			err := s.commit(t.Context(), []record{put("J_c", "3"), test.commit, put("J_d", "4")})
			refused(t, err, test.commit.key, test.want)
			if exists, _, err := s.session.Exists(root + "/state/J_c"); exists || err != nil {
				t.Errorf("another record of the refused commit exists: %v, %v", exists, err)
			}
			if _, err := s.load(t.Context()); err != nil { // as the next term does
				t.Fatal(err)
			}
			mustCommit(t, s, put("J_c", "3"))
		})
	}
}

func TestZKStoreRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, _ := lead(t, hosts, root)
	fits := record{"J_fits", bytes.Repeat([]byte("x"), maxRecord-100)}
	mustCommit(t, s, fits)
	refused(t, s.commit(t.Context(), []record{put("J_a", "1"), {"J_big", bytes.Repeat([]byte("x"), maxRecord)}}), "J_big", errRecordTooLarge)
	refused(t, s.commit(t.Context(), []record{put("J_a", "1"), {"J_more", bytes.Repeat([]byte("x"), 60_000)}, fits}), "J_fits", errRecordTooLarge)
	refused(t, s.commit(t.Context(), []record{put("J_a\tb", "1")}), "J_a\tb", zk.ErrBadArguments)
	if s.session.ctx.Err() != nil {
		t.Error("the session is lost")
	}
	mustCommit(t, s, put("J_a", "1"))
}

// A commit that arrives after leadership has passed changes nothing. The second
// half shows that nothing but the fence prevents it.
func TestDeposedLeaderCannotWrite(t *testing.T) {
	t.Parallel()
	for _, fenced := range []bool{true, false} {
		t.Run(fmt.Sprint("fenced=", fenced), func(t *testing.T) {
			hosts, root := zktest.Shared(t)
			old, oldCandidate := lead(t, hosts, root)
			mustCommit(t, old, put("J_a", "old"))
			if err := oldCandidate.resign(old.session); err != nil {
				t.Fatal(err)
			}
			next, _ := lead(t, hosts, root)
			if !fenced {
				old.latch, old.termVersion = root+"/state", -1 // any node that exists, and no order of terms
			}
			err := old.commit(t.Context(), []record{put("J_a", "late"), put("J_b", "late")})
			got, loadErr := next.load(t.Context())
			if loadErr != nil {
				t.Fatal(loadErr)
			}
			if !fenced {
				if err != nil || string(got["J_a"]) != "late" {
					t.Errorf("without the fence the late commit = %v leaves J_a = %q; this test proves nothing", err, got["J_a"])
				}
				return
			}
			if !errors.Is(err, errFenced) || !sameRecords(got, map[string]string{"J_a": "old"}) {
				t.Errorf("late commit = %v leaves %q, want %v", err, got, errFenced)
			}
			mustCommit(t, next, put("J_a", "new"))
		})
	}
}

func TestEachCommitStampsItsTerm(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	stamp := func(s *zkStore) termRecord {
		var r termRecord
		data, _, err := s.session.Get(root + "/go/term")
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for term := int64(1); term <= 3; term++ {
		s, c := lead(t, hosts, root)
		if got, want := stamp(s), (termRecord{term, path.Base(s.latch)}); got != want || s.term != term {
			t.Errorf("at the start of term %d: stamp %v, want %v", s.term, got, want)
		}
		mustCommit(t, s, put("J_a", fmt.Sprint(term)))
		_, stat, err := s.session.Get(root + "/state/J_a")
		_, termStat, err2 := s.session.Get(root + "/go/term")
		if err != nil || err2 != nil || stat.Mzxid != termStat.Mzxid {
			t.Errorf("record and stamp are of transactions %d and %d (%v, %v)", stat.Mzxid, termStat.Mzxid, err, err2)
		}
		mustResign(t, c, s.session)
	}
}

// Terms of one path in one ZooKeeper have an order, whoever asks; those of different paths have none.
func TestTermsHaveAnOrder(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	first, c := lead(t, hosts, root)
	mustCommit(t, first, put("J_a", "1"))
	mustResign(t, c, first.session)
	second, _ := lead(t, hosts, root)
	elsewhere, _ := lead(t, hosts, root+"-elsewhere")
	for _, x := range []struct {
		name string
		a, b *zkStore
		want bool
	}{
		{"the first and the second", first, second, true},
		{"the second and the first", second, first, false},
		{"the first and itself", first, first, false},
		{"the first elsewhere and the second", elsewhere, second, false},
	} {
		if got := x.a.id().before(x.b.id()); got != x.want {
			t.Errorf("%s: %v before %v = %t, want %t", x.name, x.a.id(), x.b.id(), got, x.want)
		}
	}
}

func TestTermsGoOnWhenTheirRecordIsSpoilt(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, c := lead(t, hosts, root)
	if _, err := s.session.Set(root+"/go/term", []byte("spoilt"), -1); err != nil {
		t.Fatal(err)
	}
	if err := s.commit(t.Context(), []record{put("J_a", "1")}); !errors.Is(err, errFenced) {
		t.Errorf("commit = %v, want %v", err, errFenced)
	}
	mustResign(t, c, s.session)
	if next, _ := lead(t, hosts, root); next.term <= s.term {
		t.Errorf("term %d after term %d", next.term, s.term)
	}
}

// T_ nodes that 2.x versions leaked by the thousands must not keep a leader from starting.
func TestZKStoreHoldsAHundredThousandRecords(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, _ := lead(t, hosts, root)
	const n, batch = 100_000, 2500
	for from := 0; from < n; from += batch {
		var records []record
		for i := range batch {
			records = append(records, put(fmt.Sprintf("T_ct:1795399800000:0:leaked-%06d:", from+i), ""))
		}
		mustCommit(t, s, records...)
	}
	start := time.Now()
	records, err := s.load(t.Context())
	if err != nil || len(records) != n {
		t.Fatalf("load() = %d records, %v, want %d", len(records), err, n)
	}
	t.Logf("%d records loaded in %v", n, time.Since(start))
}

func TestZKStoreReportsALostConnection(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	s, _ := lead(t, []string{server.Addr}, "/chronos/state")
	server.Kill()
	err := s.commit(t.Context(), []record{put("J_a", "1")})
	if _, definite := errors.AsType[*recordError](err); err == nil || definite || errors.Is(err, errFenced) {
		t.Errorf("commit without a server = %v, want an error of unknown outcome", err)
	}
	if _, err := s.load(t.Context()); err == nil {
		t.Error("load without a server succeeded")
	}
}

func TestZKStoreWithCredentials(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := authSession(t, hosts, "chronos:secret")
	s := leadIn(t, session, newTestCandidate(root, "127.0.0.1:1"), root)
	mustCommit(t, s, put("J_a", "1"), put("go/job/a", "2"))
	stranger := testSession(t, hosts)
	for _, node := range []string{root + "/state/J_a", root + "/go/job/a", root + "/go/term", s.latch} {
		if _, _, err := stranger.Get(node); err != nil {
			t.Errorf("Get(%q) as a stranger = %v", node, err)
		}
		if _, err := stranger.Set(node, nil, -1); !errors.Is(err, zk.ErrNoAuth) {
			t.Errorf("Set(%q) as a stranger = %v, want %v", node, err, zk.ErrNoAuth)
		}
	}
}

// Random commits by changing leaders against a map.
func TestZKStoreAgainstAModel(t *testing.T) {
	t.Parallel()
	seed := *firstSeed
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	hosts, root := zktest.Shared(t)
	s, c := lead(t, hosts, root)
	model := map[string]string{}
	for range inForm(300, 10_000) {
		if r.IntN(30) == 0 {
			mustResign(t, c, s.session)
			s, c = lead(t, hosts, root)
			wantRecords(t, s, model)
		}
		next := maps.Clone(model)
		var records []record
		for range r.IntN(8) {
			key := []string{"J_", "T_", "go/job/", "go/run/"}[r.IntN(4)] + fmt.Sprint(r.IntN(10))
			if r.IntN(3) == 0 {
				records = append(records, record{key: key})
				delete(next, key)
				continue
			}
			next[key] = strings.Repeat("v", r.IntN(100))
			records = append(records, put(key, next[key]))
		}
		mustCommit(t, s, records...)
		model = next
	}
	wantRecords(t, s, model)
}
