package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// largestLog bounds what is read of a log. Kubelets begin a new file long before.
	largestLog = 16 << 20
	// logStays is how long a log that was read serves for the parts that follow.
	logStays = 5 * time.Second
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
		if text, err = k.readLog(podName(*k.framework.Load(), id)); err != nil {
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

func (k *kubeCluster) readLog(pod string) ([]byte, error) {
	k.logs.mu.Lock()
	defer k.logs.mu.Unlock()
	if k.logs.pod == pod && time.Since(k.logs.read) < logStays {
		return k.logs.text, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), kubeCallTimeout)
	defer cancel()
	resp, err := k.client.open(ctx, kubeCall{method: http.MethodGet, path: k.client.podPath(pod) + "/log", query: url.Values{"container": {taskContainer}}})
	switch {
	case refusedWith(err, http.StatusNotFound):
		return nil, errNotFound
	case refusedWith(err, http.StatusBadRequest):
		return nil, nil // it has not started
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	n, err := io.Copy(&text, io.LimitReader(resp.Body, largestLog))
	if err != nil && (n == 0 || !errors.Is(err, io.ErrUnexpectedEOF)) {
		return nil, err
	}
	k.logs.pod, k.logs.text, k.logs.read = pod, text.Bytes(), time.Now()
	return k.logs.text, nil
}
