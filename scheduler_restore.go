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
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// A restore takes more than one commit, and may be cut off between any two. So the backup is
// first stored as it is, in pieces; then one commit decides, by a marker, that it shall be the
// state. The term ends with that commit, and whoever loads the state next finds the marker, makes
// the records those of the backup, and takes the marker away. Doing so again after a crash does
// no harm. Pieces without a marker are of a restore that was not decided, and are deleted.
const (
	restorePrefix = "go/restore/"
	restoreMarker = restorePrefix + "decided"
	restorePiece  = 400 << 10
)

var (
	// errRestored ends the term in which a restore was decided.
	errRestored = errors.New("the state is being restored from a backup")
	errNotEmpty = errors.New("there are jobs already; to replace the whole state, say so: replace=true")
	errRestores = errors.New("another restore is under way")
)

// A restoreDecision is the marker.
type restoreDecision struct {
	Pieces int    `json:"pieces"`
	SHA256 string `json:"sha256"` // of all pieces in a row
	At     string `json:"at"`     // when the backup was made
}

// restorePieces returns the records that hold the backup, and the marker.
func restorePieces(b *backup) (pieces []record, marker record, err error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, record{}, err
	}
	if err := errors.Join(b.write(z), z.Close()); err != nil {
		return nil, record{}, err
	}
	sum := sha256.Sum256(packed.Bytes())
	for piece := range slices.Chunk(packed.Bytes(), restorePiece) {
		pieces = append(pieces, record{pieceKey(len(pieces)), piece})
	}
	decision := restoreDecision{len(pieces), hex.EncodeToString(sum[:]), b.At}
	return pieces, record{restoreMarker, mustJSON(decision)}, nil
}

func pieceKey(n int) string { return fmt.Sprintf("%s%06d", restorePrefix, n) }

// joinPieces is the opposite of restorePieces, on the records of a store.
func joinPieces(records map[string][]byte) (*backup, error) {
	var decision restoreDecision
	if err := json.Unmarshal(records[restoreMarker], &decision); err != nil {
		return nil, fmt.Errorf("record %q: %w", restoreMarker, err)
	}
	var packed []byte
	for n := range decision.Pieces {
		packed = append(packed, records[pieceKey(n)]...)
	}
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != decision.SHA256 {
		return nil, fmt.Errorf("the pieces below %q are not what was stored there", restorePrefix)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return readBackup(io.LimitReader(z, maxBackup))
}

// settleRestore finishes or drops the restore that a store's records tell of, and returns
// the records as they are then. Without one it returns the records it is given.
func settleRestore(ctx context.Context, st store, records map[string][]byte, log *slog.Logger) (map[string][]byte, error) {
	var leftovers []record
	for key := range records {
		if strings.HasPrefix(key, restorePrefix) && key != restoreMarker {
			leftovers = append(leftovers, record{key, nil})
		}
	}
	if _, decided := records[restoreMarker]; decided {
		b, err := joinPieces(records)
		if err != nil {
			return nil, fmt.Errorf("finish a restore: %w", err)
		}
		log.Warn("making the state that of a backup", "made", b.At, "jobs", b.jobs())
		wanted := restoredRecords(b, records)
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

// restoredRecords is the state to be: the records of the backup. The framework that is
// registered stays, and so do answers to requests, of which the restore itself is one. Tasks of runs
// that the backup does not know are adopted, not killed: that is what no instant in adoptKey does.
func restoredRecords(b *backup, present map[string][]byte) map[string][]byte {
	wanted := make(map[string][]byte, len(b.Records))
	for _, r := range b.Records {
		if r.Key != adoptKey {
			wanted[r.Key] = r.value()
		}
	}
	for key, value := range present {
		if strings.HasPrefix(key, "go/request/") || key == frameworkIDKey || strings.HasPrefix(key, restorePrefix) {
			wanted[key] = value
		}
	}
	delete(wanted, restoreMarker)
	return wanted
}

// changesBetween returns the records to commit to come from one state to another, but for restoreMarker.
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
	slices.SortFunc(out, func(a, b record) int { return cmp.Compare(a.key, b.key) })
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

// holdsJobs reports whether a state has anything that a restore would destroy.
func holdsJobs(records map[string][]byte, unreadable []unreadableRecord) bool {
	isJob := func(key string) bool { return strings.HasPrefix(key, "J_") }
	return slices.ContainsFunc(slices.Collect(maps.Keys(records)), isJob) ||
		slices.ContainsFunc(unreadable, func(r unreadableRecord) bool { return isJob(r.Key) })
}

// restoreInto restores into a store that nobody else uses.
func restoreInto(ctx context.Context, st store, b *backup, replace bool, log *slog.Logger) error {
	records, err := st.load(ctx)
	unreadable, err := unreadableOf(err)
	if err != nil {
		return err
	}
	if records, err = settleRestore(ctx, st, records, log); err != nil {
		return err
	}
	if !replace && holdsJobs(records, unreadable) {
		return errNotEmpty
	}
	pieces, marker, err := restorePieces(b)
	if err != nil {
		return err
	}
	if err := commitAll(ctx, st, append(pieces, marker)); err != nil {
		return err
	}
	for _, r := range append(pieces, marker) {
		records[r.key] = r.value
	}
	_, err = settleRestore(ctx, st, records, log)
	return err
}

// restore stores the backup and decides that it is to be the state. It returns when that is
// stored; the term ends then, and the next one begins with the state restored. When it fails with
// one of the errors above, nothing has changed. It goes on when ctx ends. Asked for a second time
// under the same request id it does nothing, and the term goes on.
func (s *scheduler) restore(ctx context.Context, b *backup, replace bool) (ends bool, err error) {
	if !s.restoring.TryLock() {
		return false, errRestores
	}
	defer s.restoring.Unlock()
	pieces, marker, err := restorePieces(b)
	if err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	id, done := requestID(ctx), false
	unnamed := context.WithValue(ctx, requestIDKey{}, "") // the pieces are no requests of their own
	err = s.do(unnamed, func() error {
		if _, done = s.requests.answer(id); done {
			return nil
		}
		return s.mayRestore(replace)
	})
	if err != nil || done {
		return false, err
	}
	// If this is cut off, another restore overwrites the pieces, or the next term deletes them.
	for _, piece := range pieces {
		if err := s.do(unnamed, func() error { s.extra = append(s.extra, piece); return nil }); err != nil {
			return false, err
		}
	}
	err = s.do(ctx, func() error {
		if err := s.mayRestore(replace); err != nil {
			return err
		}
		s.extra = append(s.extra, marker)
		s.after(func() { s.endTerm(errRestored) })
		return nil
	})
	return err == nil, err
}

// mayRestore checks, in the loop, that a restore destroys nothing that it should not.
func (s *scheduler) mayRestore(replace bool) error {
	if !replace && !s.empty() {
		return errNotEmpty
	}
	return nil
}

// empty reports whether there is no job, not even one that can't be used.
func (s *scheduler) empty() bool {
	unusable := func(r invalidRecord) bool { return strings.HasPrefix(r.key, "J_") }
	return len(s.jobs) == 0 && !slices.ContainsFunc(s.invalid, unusable)
}
