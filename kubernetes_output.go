package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

const (
	// largestLog bounds what is read of a log. Kubelets begin a new file long before.
	largestLog = 16 << 20
	// logStays is how long a log that was read serves for the parts that follow.
	logStays = 5 * time.Second
	// mostKeptOfLog bounds what is kept of the log of a pod that is gone.
	mostKeptOfLog = 1 << 20
	// oneOutput is all that there is of stderr.
	oneOutput = "Kubernetes keeps stdout and stderr as one: both are shown as stdout.\n"
)

// kubeLogs reads what pods have written. The log endpoint knows no offset, so a log is read whole, and kept for
// a moment for whoever reads it by parts.
type kubeLogs struct {
	mu   sync.Mutex
	pod  string // name
	text []byte
	read time.Time
}

// output reads a run's output from offset on, also while the run goes on. A negative offset counts from the end.
// errNotFound means that there is no such pod (any more), or name.
func (k *kubeCluster) output(id, name string, offset int64, limit int) (outputPiece, error) {
	var text []byte
	switch name {
	case "stdout":
		var err error
		if text, err = k.written(id); err != nil {
			return outputPiece{}, fmt.Errorf("output of run %q: %w", id, err)
		}
	case "stderr":
		text = []byte(oneOutput)
	default:
		return outputPiece{}, fmt.Errorf("output %q: %w", name, errNotFound)
	}
	piece := outputPiece{size: int64(len(text))}
	if offset < 0 {
		offset = max(0, piece.size+offset)
	}
	if offset < piece.size {
		piece.text = text[offset:min(piece.size, offset+int64(limit))]
	}
	return piece, nil
}

// written is what a run has written: the log of its pod, or what was kept of that when the pod went.
func (k *kubeCluster) written(id string) ([]byte, error) {
	_, _, job, _, _ := parseRunID(id)
	pod := podName(*k.framework.Load(), id)
	text, err := k.readLog(pod)
	if len(text) > 0 {
		return text, err
	}
	if kept, missing := k.kept.read(job, pod); missing == nil {
		return kept, nil
	}
	return text, err
}

func (k *kubeCluster) readLog(pod string) ([]byte, error) {
	k.logs.mu.Lock()
	defer k.logs.mu.Unlock()
	if k.logs.pod == pod && time.Since(k.logs.read) < logStays {
		return k.logs.text, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), kubeCallTimeout)
	defer cancel()
	text, err := k.fetchLog(ctx, pod)
	if err == nil {
		k.logs.pod, k.logs.text, k.logs.read = pod, text, time.Now()
	}
	return text, err
}

// fetchLog reads the log of a pod from its beginning. It is empty if the pod has not started, and where its node has dropped it.
func (k *kubeCluster) fetchLog(ctx context.Context, pod string) ([]byte, error) {
	var text bytes.Buffer
	err := k.copyLog(ctx, pod, url.Values{}, func(log io.Reader) error {
		_, err := io.Copy(&text, io.LimitReader(log, largestLog))
		return err
	})
	if err != nil || lostLog.Match(text.Bytes()) {
		return nil, err
	}
	return text.Bytes(), nil
}

// lostLog is what a kubelet answers, with 200, in the place of a log that it no longer has.
var lostLog = regexp.MustCompile(`^unable to retrieve container logs for \S+$`)

// copyLog opens the log of a pod. One that breaks off is as good as what there is of it.
func (k *kubeCluster) copyLog(ctx context.Context, pod string, query url.Values, read func(io.Reader) error) error {
	query.Set("container", taskContainer)
	resp, err := k.client.open(ctx, kubeCall{method: http.MethodGet, path: k.client.podPath(pod) + "/log", query: query})
	switch {
	case refusedWith(err, http.StatusNotFound):
		return errNotFound
	case refusedWith(err, http.StatusBadRequest):
		return nil // it has not started
	case err != nil:
		return err
	}
	defer resp.Body.Close()
	if err := read(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}

// mostCaught is how many logs are followed to their ends at a time.
const mostCaught = 100

// catchLog keeps what a pod writes that is about to go. Its node drops the log as soon as it has ended, whoever holds the pod, so it
// is followed to its end from when the pod was deleted.
func (k *kubeCluster) catchLog(ctx context.Context, p *podObject) {
	grace := defaultGrace
	if own := p.Metadata.DeletionGracePeriodSeconds; own != nil {
		grace = time.Duration(*own) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, grace+time.Minute) // its node may not answer any more
	defer cancel()
	select {
	case k.catching <- struct{}{}:
		defer func() { <-k.catching }()
	case <-ctx.Done():
		return
	}
	var log logTail
	err := k.copyLog(ctx, p.Metadata.Name, url.Values{"follow": {"true"}}, func(r io.Reader) error {
		_, err := io.Copy(&log, r)
		return err
	})
	if len(log.text) > 0 && !lostLog.Match(log.text) {
		err = errors.Join(err, k.kept.save(p.Metadata.Annotations[annotationJob], p.Metadata.Name, log.end()))
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		k.log.Warn("the output of a run goes with its pod, or some of it", "task", p.task(), "error", err)
	}
}

// A logTail is the end of what was written to it.
type logTail struct {
	text    []byte
	dropped int64
}

func (t *logTail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > 2*mostKeptOfLog {
		t.cut()
	}
	return len(p), nil
}

func (t *logTail) cut() {
	if n := len(t.text) - mostKeptOfLog; n > 0 {
		t.text, t.dropped = append(t.text[:0], t.text[n:]...), t.dropped+int64(n)
	}
}

// end is what is kept, and says what is not.
func (t *logTail) end() []byte {
	if t.cut(); t.dropped == 0 {
		return t.text
	}
	return append(bytes.TrimLeft(leftOut(t.dropped), "\n"), t.text...)
}

// keptLogs are files with what runs have written whose pods are gone, a directory for each job.
type keptLogs struct {
	dir    string // "" keeps none
	perJob int
	mu     sync.Mutex
}

func (l *keptLogs) file(job, pod string) string { return filepath.Join(l.dir, labelValue(job), pod) }

func (l *keptLogs) read(job, pod string) ([]byte, error) {
	if l.dir == "" {
		return nil, errNotFound
	}
	return os.ReadFile(l.file(job, pod))
}

// save keeps a log, and drops what is too much.
func (l *keptLogs) save(job, pod string, text []byte) error {
	if l.dir == "" || l.perJob == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	path := l.file(job, pod)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	return l.trim()
}

// trim drops files beyond those that are kept, the oldest first, of all jobs together. The caller holds the lock.
func (l *keptLogs) trim() error {
	type log struct {
		path, job string
		written   time.Time
	}
	var logs []log
	paths, err := filepath.Glob(filepath.Join(l.dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			logs = append(logs, log{path, filepath.Base(filepath.Dir(path)), info.ModTime()})
		}
	}
	slices.SortFunc(logs, func(a, b log) int { return b.written.Compare(a.written) })
	of := map[string]int{}
	for i, f := range logs {
		of[f.job]++
		if i >= mostKept || of[f.job] > l.perJob || time.Since(f.written) > keptAge {
			err = errors.Join(err, os.Remove(f.path))
		}
	}
	return err
}

// removeJob drops what is kept of a job.
func (l *keptLogs) removeJob(job string) error {
	if l.dir == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return os.RemoveAll(filepath.Join(l.dir, labelValue(job)))
}
