package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A hammer does to one instance, from many clients at once, whatever its API offers, a restore of its last backup included.
type hammer struct {
	t      *testing.T
	v      *instance
	client *http.Client
	until  time.Time

	backup    atomic.Pointer[[]byte] // the last one
	restoring atomic.Int64           // restores that were asked for
	mu        sync.Mutex
	done      map[string]map[int]int // answers by status, by deed
}

const (
	hammerClients = 16
	hammerJobs    = 40
)

// TestTortureHammer hammers an instance. Nothing may be answered with a fault of ours, no data race be found, and what the
// process holds afterwards must be what it held before.
func TestTortureHammer(t *testing.T) {
	t.Parallel()
	span := 4 * time.Second
	if *longTorture {
		span = 3 * time.Minute
	}
	chance := tortureRand(t)
	h := &hammer{t: t, client: &http.Client{Timeout: patience}, done: map[string]map[int]int{},
		v: newInstance(t, "log", "--data_dir", filepath.Join(t.TempDir(), "data"), "--failure_retry", "100", "--local_keep_runs", "1")}
	h.v.start(t)
	h.v.serves(t)
	h.v.runOnce(t, "first", "true", "") // and what starts runs is there
	h.v.awaitEnd(t, "first", 1)
	h.v.until(t, "there is a first backup", func() bool { return h.takeBackup(t.Context()) == 200 })
	before := h.holds()

	h.until = time.Now().Add(span)
	ctx, stop := context.WithDeadline(t.Context(), h.until)
	defer stop()
	var clients, watch sync.WaitGroup
	for range hammerClients {
		seed := chance.Uint64()
		clients.Go(func() { h.strike(ctx, rand.New(rand.NewPCG(seed, 0))) })
	}
	var peaks []holding
	watch.Go(func() {
		for rest := time.NewTicker(span / 24); ctx.Err() == nil; {
			select {
			case <-rest.C:
				peaks = append(peaks, h.holds())
			case <-ctx.Done():
				rest.Stop()
			}
		}
	})
	clients.Wait()
	watch.Wait()

	h.v.until(t, "no job is left", func() bool { // also of what was under way at the end
		names := h.v.names()
		for _, name := range names {
			h.v.call("DELETE", "/scheduler/job/"+name, "")
		}
		return names != nil && len(names) == 0
	})
	h.v.until(t, "nothing runs any more", h.v.isIdle)
	h.client.CloseIdleConnections()
	for deed, statuses := range h.done {
		t.Logf("%s: %v", deed, statuses)
	}
	h.judge(before, peaks)
	h.v.terminate(t)
	for _, line := range h.v.complaints(t, "record failed start", "kill run") { // of a run that a restore has taken away
		t.Errorf("log: %s", line)
	}
}

// A holding is what the process holds at an instant.
type holding struct{ descriptors, goroutines, residentMiB int }

func (h *hammer) holds() (now holding) {
	pid := strconv.Itoa(h.v.cmd.Process.Pid)
	entries, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		h.t.Error(err)
	}
	now.descriptors = len(entries)
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		h.t.Error(err)
	}
	if m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status); m != nil {
		kib, _ := strconv.Atoi(string(m[1])) // digits
		now.residentMiB = kib >> 10
	}
	if _, text, err := h.v.call("GET", "/metrics/prometheus", ""); err == nil {
		if m := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(text); m != nil {
			now.goroutines, _ = strconv.Atoi(m[1]) // digits
		}
	}
	return now
}

// judge compares what the process holds with what it held before, and the last third of the time with the second.
func (h *hammer) judge(before holding, peaks []holding) {
	var after holding
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		after = h.holds()
		// What leaks does so with each of thousands of requests; a keeper more or less, or a connection, is none.
		if after.descriptors <= before.descriptors+4 && after.goroutines <= before.goroutines+8 {
			break
		}
		if time.Now().After(deadline) {
			h.t.Errorf("it holds %+v at the end, and held %+v before", after, before)
			break
		}
	}
	third := len(peaks) / 3
	if third == 0 {
		h.t.Fatal("nothing was measured")
	}
	most := func(of []holding) (most holding) {
		for _, p := range of {
			most.descriptors = max(most.descriptors, p.descriptors)
			most.goroutines = max(most.goroutines, p.goroutines)
			most.residentMiB = max(most.residentMiB, p.residentMiB)
		}
		return most
	}
	first, second, last := most(peaks[:third]), most(peaks[third:2*third]), most(peaks[2*third:])
	h.t.Logf("held before %+v, at most %+v, %+v, %+v in the thirds of the time, %+v after", before, first, second, last, after)
	if *longTorture && last.residentMiB > second.residentMiB*3/2+32 {
		h.t.Errorf("memory grows: %d MiB in the last third, %d in the second", last.residentMiB, second.residentMiB)
	}
}

// strike does one thing after the other.
func (h *hammer) strike(ctx context.Context, chance *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("h%d", chance.IntN(hammerJobs))
		deed, status := h.deed(ctx, chance, name)
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		if h.done[deed] == nil {
			h.done[deed] = map[int]int{}
		}
		h.done[deed][status]++
		h.mu.Unlock()
		if status == 0 || status >= 500 && status != http.StatusServiceUnavailable {
			h.t.Errorf("%s of %s is answered %d", deed, name, status)
		}
	}
}

// deed does something by chance, and returns its name and the status of the answer.
func (h *hammer) deed(ctx context.Context, chance *rand.Rand, name string) (string, int) {
	type deed struct {
		name   string
		weight int
		do     func() int
	}
	deeds := []deed{
		{"create or edit", 30, func() int {
			command := []string{"true", "false", "sleep 0.2", "echo $RANDOM; exit 3"}[chance.IntN(4)]
			schedule := []string{"R//PT1S", "R2//PT2S", "R1/2090-01-01T00:00:00Z/P1D", "* * * * *"}[chance.IntN(4)]
			return h.ask(ctx, "POST", "/scheduler/iso8601", jobDocument(name, command, fmt.Sprintf(`"retries":%d,"disabled":%t,"concurrent":%t,"schedule":%q`,
				chance.IntN(3), chance.IntN(8) == 0, chance.IntN(4) == 0, schedule)))
		}},
		{"create a child", 6, func() int {
			return h.ask(ctx, "POST", "/v1/scheduler/dependency", jobDocument("child"+name, "true", fmt.Sprintf(`"parents":["h%d"]`, chance.IntN(hammerJobs))))
		}},
		{"delete", 12, func() int { return h.ask(ctx, "DELETE", "/scheduler/job/"+name, "") }},
		{"run", 30, func() int {
			return h.ask(ctx, "PUT", "/scheduler/job/"+name+"?arguments="+strings.Repeat("x", chance.IntN(100)), "")
		}},
		{"kill", 8, func() int { return h.ask(ctx, "DELETE", "/scheduler/task/kill/"+name, "") }},
		{"list", 20, func() int {
			return h.ask(ctx, "GET", []string{"/scheduler/jobs", "/v1/scheduler/jobs/summary", "/scheduler/graph/csv", "/scheduler/runs/" + name, "/scheduler/overview", "/scheduler/queued/" + name}[chance.IntN(6)], "")
		}},
		{"events", 4, func() int {
			listening, stop := context.WithTimeout(ctx, time.Duration(chance.Int64N(int64(time.Second))))
			defer stop()
			status := h.ask(listening, "GET", "/scheduler/events", "")
			if status == 0 {
				status = 200 // they have no end of their own
			}
			return status
		}},
		{"backup", 3, func() int { return h.takeBackup(ctx) }},
		{"restore", 1, func() int {
			h.restoring.Add(1)
			return h.ask(ctx, "POST", "/scheduler/restore?replace=true&empty=true", string(*h.backup.Load()))
		}},
	}
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	at := chance.IntN(total)
	i := slices.IndexFunc(deeds, func(d deed) bool { at -= d.weight; return at < 0 })
	return deeds[i].name, deeds[i].do()
}

// ask sends a request and reads the answer to its end. It returns 0 if there is none.
func (h *hammer) ask(ctx context.Context, method, path, body string) int {
	status, _ := h.fetch(ctx, method, path, body)
	return status
}

func (h *hammer) fetch(ctx context.Context, method, path, body string) (int, []byte) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+h.v.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Error(err)
		return 0, nil
	}
	if body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, res.Body); err != nil {
		return 0, nil
	}
	return res.StatusCode, text.Bytes()
}

// takeBackup makes a backup, which has to be whole, the last one. A restore ends the term, and with it the backups that
// are under way: their answers break off, so that nobody takes them for whole.
func (h *hammer) takeBackup(ctx context.Context) int {
	status, document := h.fetch(ctx, "GET", "/scheduler/backup", "")
	if status == 0 && h.restoring.Load() > 0 {
		return http.StatusServiceUnavailable
	}
	if status == 200 {
		if !json.Valid(document) {
			h.t.Errorf("a backup is no JSON: %d bytes", len(document))
			return 0
		}
		h.backup.Store(&document)
	}
	return status
}
