package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// A restore takes more than one commit, and may be cut off between any two. So the backup is
// first stored as it is, in pieces, while it arrives; then one commit decides, by a marker, that it shall be the
// state. The term ends with that commit, and whoever loads the state next finds the marker, replaces
// the records with those of the backup, and removes the marker. Repeating that after a crash does
// no harm. Pieces without a marker belong to a restore that was not decided, and are deleted.
const (
	restorePrefix = "go/restore/"
	restoreMarker = restorePrefix + "decided"
	restorePiece  = 400 << 10
)

var (
	// errRestored ends the term in which a restore was decided.
	errRestored = errors.New("the state is being restored from a backup")
	errNotEmpty = errors.New("there are jobs already; to replace the whole state, say so: replace=true")
	errNoJobs   = errors.New("the backup holds no jobs; to make the state empty, say so: empty=true")
	errRestores = errors.New("another restore is under way; try again when it is done")
	// errCutOff is the answer to a restore whose term ended before it was decided.
	errCutOff = errors.New("the leader changed before the whole backup was stored, and nothing has been restored; send it again")
)

// A restoreDecision is the marker.
type restoreDecision struct {
	Pieces int    `json:"pieces"`
	SHA256 string `json:"sha256"` // of all pieces in a row
	At     string `json:"at"`     // when the backup was made
}

// restoreOptions are what the caller accepts that a restore destroys.
type restoreOptions struct {
	replace bool // the existing jobs
	empty   bool // all of them, by a backup without jobs
}

// A pieceWriter cuts the packed document of a backup into records, and stores each as soon as it is full.
type pieceWriter struct {
	store func(record) error
	piece []byte
	count int
	sum   hash.Hash // of all pieces in a row
}

func (w *pieceWriter) Write(p []byte) (int, error) {
	w.sum.Write(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), restorePiece-len(w.piece))
		w.piece, rest = append(w.piece, rest[:n]...), rest[n:]
		if len(w.piece) == restorePiece {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (w *pieceWriter) flush() error {
	if len(w.piece) == 0 {
		return nil
	}
	r := record{pieceKey(w.count), w.piece}
	w.piece = make([]byte, 0, restorePiece)
	w.count++
	return w.store(r)
}

// receiveBackup stores the document of a backup in pieces as it arrives, and returns the marker that
// decides. After an error as many pieces may be there as it says.
func receiveBackup(document io.Reader, sh *share, o restoreOptions, store func(record) error) (s backupSummary, marker record, pieces int, err error) {
	w := &pieceWriter{store: store, sum: sha256.New()}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return s, record{}, 0, err
	}
	s, err = readBackup(io.TeeReader(document, z), sh, nil)
	if err == nil && s.jobs == 0 && !o.empty {
		err = errNoJobs
	}
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = w.flush()
	}
	decision := restoreDecision{w.count, hex.EncodeToString(w.sum.Sum(nil)), s.At}
	return s, record{restoreMarker, mustJSON(decision)}, w.count, err
}

func pieceKey(n int) string { return fmt.Sprintf("%s%06d", restorePrefix, n) }

// storedBackup returns the document whose pieces are among the records of a store.
func storedBackup(records map[string][]byte) (document io.Reader, err error) {
	var decision restoreDecision
	if err := json.Unmarshal(records[restoreMarker], &decision); err != nil {
		return nil, fmt.Errorf("record %q: %w", restoreMarker, err)
	}
	sum := sha256.New()
	var pieces []io.Reader
	for n := range decision.Pieces {
		piece := records[pieceKey(n)]
		sum.Write(piece)
		pieces = append(pieces, bytes.NewReader(piece))
	}
	if hex.EncodeToString(sum.Sum(nil)) != decision.SHA256 {
		return nil, fmt.Errorf("the pieces below %q are not what was stored there", restorePrefix)
	}
	z, err := gzip.NewReader(io.MultiReader(pieces...))
	if err != nil {
		return nil, err
	}
	return io.LimitReader(z, maxBackup), nil
}

// settleRestore finishes or drops the restore found in a store's records, and returns
// the resulting records. Without one it returns the records it is given.
func settleRestore(ctx context.Context, st store, records map[string][]byte, log *slog.Logger) (map[string][]byte, error) {
	var leftovers []record
	for key := range records {
		if strings.HasPrefix(key, restorePrefix) && key != restoreMarker {
			leftovers = append(leftovers, record{key, nil})
		}
	}
	if _, decided := records[restoreMarker]; decided {
		for _, key := range st.allKeys() {
			if onDemand(key) {
				records[key] = nil // whatever it holds: it goes, or is replaced
			}
		}
		wanted, b, err := restoredRecords(records)
		if err != nil {
			return nil, fmt.Errorf("finish a restore: %w", err)
		}
		log.Warn("replacing the state with that of a backup", "made", b.At, "jobs", b.jobs)
		if err := commitAll(ctx, st, changesBetween(records, wanted)); err != nil {
			return nil, fmt.Errorf("finish a restore: %w", err)
		}
		if err := st.commit(ctx, []record{{restoreMarker, nil}}); err != nil {
			return nil, fmt.Errorf("finish a restore: %w", err)
		}
		records = wanted
	}
	if len(leftovers) == 0 {
		return records, nil
	}
	if err := commitAll(ctx, st, leftovers); err != nil {
		return nil, fmt.Errorf("remove the pieces of a restore: %w", err)
	}
	for _, r := range leftovers {
		delete(records, r.key)
	}
	return records, nil
}

// restoredRecords returns the state to be: the records of the backup in the pieces. The registered framework
// is kept, and so is who has changed what, and are answers to requests, of which the restore itself is one. Tasks of runs
// that the backup does not know are adopted, not killed: that is the effect of removing the instant in adoptKey.
func restoredRecords(present map[string][]byte) (wanted map[string][]byte, s backupSummary, err error) {
	document, err := storedBackup(present)
	if err != nil {
		return nil, s, err
	}
	wanted = map[string][]byte{}
	s, err = readBackup(document, nil, func(r record) error {
		if r.key != adoptKey {
			wanted[r.key] = r.value
		}
		return nil
	})
	for key, value := range present {
		if transient(key) || key == frameworkIDKey || strings.HasPrefix(key, activityPrefix) {
			wanted[key] = value
		}
	}
	delete(wanted, restoreMarker)
	return wanted, s, err
}

// changesBetween returns the records to commit to get from one state to another, except for restoreMarker.
func changesBetween(from, to map[string][]byte) []record {
	var out []record
	for key := range from {
		if _, ok := to[key]; !ok && key != restoreMarker {
			out = append(out, record{key, nil})
		}
	}
	for key, value := range to {
		if old, ok := from[key]; !ok || !bytes.Equal(old, value) {
			out = append(out, record{key, append([]byte{}, value...)})
		}
	}
	sortStable(out, func(a, b record) int { return cmp.Compare(a.key, b.key) })
	return out
}

// commitAll commits records in as many steps as their size needs.
func commitAll(ctx context.Context, st store, records []record) error {
	size, first := 0, 0
	for i, r := range records {
		n := st.size(r)
		if i > first && size+n > maxBatchSize {
			if err := st.commit(ctx, records[first:i]); err != nil {
				return err
			}
			size, first = 0, i
		}
		size += n
	}
	if first == len(records) {
		return nil
	}
	return st.commit(ctx, records[first:])
}

// isJob reports whether a key is that of a job's document.
func isJob(key string) bool { return strings.HasPrefix(key, "J_") }

// restoreInto restores into a store that nobody else uses.
func restoreInto(ctx context.Context, st store, document io.Reader, o restoreOptions, log *slog.Logger) (backupSummary, error) {
	records, err := st.load(ctx)
	if err = exceptRecords(err); err != nil {
		return backupSummary{}, err
	}
	if records, err = settleRestore(ctx, st, records, log); err != nil {
		return backupSummary{}, err
	}
	if !o.replace && slices.ContainsFunc(st.allKeys(), isJob) {
		return backupSummary{}, errNotEmpty
	}
	store := func(r record) error {
		records[r.key] = r.value
		return st.commit(ctx, []record{r})
	}
	s, marker, _, err := receiveBackup(document, nil, o, store)
	if err == nil {
		err = store(marker)
	}
	// Without the marker this removes the pieces.
	_, settled := settleRestore(ctx, st, records, log)
	return s, errors.Join(err, settled)
}

// exceptRecords takes the errors about single records out of a store's error.
func exceptRecords(err error) (rest error) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if _, ok := errors.AsType[*recordError](err); !ok {
			rest = errors.Join(rest, err)
		}
	}
	return rest
}

// restore stores the document as it arrives and decides that it is to be the state. It returns when
// that is stored; the term ends then, and the next one begins with the state restored. When it fails
// with one of the errors above, or a *backupError, nothing has changed. It goes on when ctx ends. When called a
// second time under the same request id it does nothing, and the term goes on.
//
// A document can be read only once. A caller that has begun to read it and has to repeat the call, because the term
// has ended meanwhile, passes nil: then it learns whether the restore was decided.
func (s *scheduler) restore(ctx context.Context, document io.Reader, o restoreOptions, sh *share) (ends bool, err error) {
	if !s.restoring.TryLock() {
		return false, errRestores
	}
	defer s.restoring.Unlock()
	ctx = context.WithoutCancel(ctx)
	unnamed := context.WithValue(ctx, requestNameKey{}, (*requestName)(nil)) // storing the pieces is not a request of its own
	if known, err := s.restoredBefore(unnamed, requestNamed(ctx), document); known || err != nil {
		return false, err
	}
	if err := s.do(unnamed, func() error { return s.mayRestore(o) }); err != nil {
		return false, err
	}
	sum := sha256.New()
	_, marker, pieces, err := receiveBackup(io.TeeReader(document, sum), sh, o, func(piece record) error {
		return s.do(unnamed, func() error { s.extra = append(s.extra, piece); return nil })
	})
	if err == nil {
		requestNamed(ctx).complete(sum)
		err = s.do(ctx, func() error {
			if err := s.mayRestore(o); err != nil {
				return err
			}
			s.extra, s.ends = append(s.extra, marker), errRestored
			s.did(act{Action: actRestored, About: "the whole state, from a backup"})
			return nil
		})
	}
	if err != nil {
		s.dropPieces(unnamed, pieces)
	}
	return err == nil, err
}

// dropPieces removes what an attempt that was not decided has left. If the term has ended, the next one does that.
func (s *scheduler) dropPieces(ctx context.Context, count int) {
	err := s.do(ctx, func() error {
		for n := range count {
			s.extra = append(s.extra, record{pieceKey(n), nil})
		}
		return nil
	})
	if err != nil {
		s.log.Warn("the pieces of a restore that failed remain until the next term", "pieces", count, "error", err)
	}
}

// restoredBefore reports whether a restore of that name has been decided, of the same document.
func (s *scheduler) restoredBefore(ctx context.Context, name *requestName, document io.Reader) (bool, error) {
	known := false
	err := s.do(ctx, func() error {
		_, known = s.requests.answers[name.id()]
		return nil
	})
	switch {
	case err != nil:
		return false, err
	case !known && document == nil:
		return false, errCutOff
	case !known:
		return false, nil
	}
	if document != nil {
		sum := sha256.New()
		if _, err := readBackup(io.TeeReader(document, sum), nil, nil); err != nil {
			return false, err
		}
		name.complete(sum)
	}
	return true, s.do(ctx, func() error {
		_, _, err := s.requests.answer(name)
		return err
	})
}

// mayRestore checks, in the loop, that a restore destroys nothing that it should not.
func (s *scheduler) mayRestore(o restoreOptions) error {
	if !o.replace && !s.empty() {
		return errNotEmpty
	}
	return nil
}

// empty reports whether there is no job, not even one that can't be used.
func (s *scheduler) empty() bool {
	unusable := func(r invalidRecord) bool { return isJob(r.key) }
	return len(s.jobs) == 0 && !slices.ContainsFunc(s.invalid, unusable)
}
