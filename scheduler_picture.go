package main

import (
	"context"
	"errors"
	"slices"
)

// pictureSize is about how many bytes of records are read in one visit to the writer, and
// pictureKeys how many records at most: no more than a commit takes.
const (
	pictureSize = 256 << 10
	pictureKeys = 64
)

var errClosed = errors.New("the picture is closed")

// A picture is all that a store held at one commit, handed out page by page while other commits
// go on. It neither copies the state nor stops the leader: the writer's goroutine, which alone
// calls the store, reads a page between two commits, and before it overwrites a record that is
// still to be handed out it keeps the old value. This needs nothing from a store that it does not do anyway, and takes
// the memory of a list of keys, and of what changes faster than its reader reads.
type picture struct {
	writer *writer
	share  *share   // of the memory for answers
	keys   []string // still to be handed out, in their order

	// What follows belongs to the goroutine that calls the store.
	passed string             // the last key handed out
	kept   map[string]reading // what has been overwritten since, of keys not handed out yet
	count  int                // of keys in the next page
	failed error              // why the picture can't be completed
}

// picture begins a picture of what is stored now: of everything that has been acknowledged. It must be closed.
func (w *writer) picture(ctx context.Context, sh *share) (*picture, error) {
	p := &picture{writer: w, share: sh, kept: map[string]reading{}, count: pictureKeys}
	err := w.visit(ctx, func(context.Context) {
		// Listing 300,000 keys takes a few milliseconds; sorting them, which takes longer, is not done here.
		p.keys = slices.DeleteFunc(w.store.allKeys(), transient)
		w.pictures = append(w.pictures, p)
	})
	if err != nil {
		return nil, err
	}
	if !sh.grow(keysSize(p.keys)) {
		p.close()
		return nil, errNoRoom
	}
	slices.Sort(p.keys)
	return p, nil
}

// keysSize is what a list of keys takes, which share their text with the store.
func keysSize(keys []string) int64 { return 16 * int64(len(keys)) }

// visit runs f in the goroutine that calls the store, while no commit is in flight.
func (w *writer) visit(ctx context.Context, f func(context.Context)) error {
	done := make(chan error, 1)
	v := func(ctx context.Context, over bool) (err error) {
		defer func() { done <- err }()
		defer recoverAs(w.log, "visit to the store", &err)
		if over {
			return errNoLeader
		}
		f(ctx)
		return nil
	}
	select {
	case w.visits <- v:
		return <-done
	case <-w.stopped:
		return errNoLeader
	case <-ctx.Done():
		return ctx.Err()
	}
}

// page returns the next records in the order of their keys, none at the end.
func (p *picture) page(ctx context.Context) (page []reading, err error) {
	for len(page) == 0 && len(p.keys) > 0 && err == nil { // what was deleted behind the leader's back leaves nothing
		visited := p.writer.visit(ctx, func(ctx context.Context) { page, err = p.read(ctx) })
		err = errors.Join(err, visited)
	}
	return page, err
}

// read reads a page. A record that is among those kept is as it was; any other has not changed since.
func (p *picture) read(ctx context.Context) ([]reading, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	keys := p.keys[:min(p.count, len(p.keys))]
	stored, err := p.writer.store.read(ctx, keys)
	if err != nil {
		return nil, err
	}
	page, size := make([]reading, 0, len(keys)), 1
	for _, r := range stored {
		if old, ok := p.kept[r.key]; ok {
			p.share.shrink(old.size())
			delete(p.kept, r.key)
			r = old
		}
		if r.value != nil || r.err != nil {
			page = append(page, r)
		}
		size += len(r.value)
	}
	p.passed, p.keys = keys[len(keys)-1], p.keys[len(keys):]
	p.count = min(max(1, len(keys)*pictureSize/size), pictureKeys)
	return page, nil
}

// close ends the picture.
func (p *picture) close() {
	_ = p.writer.visit(context.Background(), func(context.Context) { // an error means that the writer has stopped
		p.writer.pictures = slices.DeleteFunc(p.writer.pictures, func(q *picture) bool { return q == p })
		p.fail(errClosed)
	})
}

// lacks reports whether the picture still needs to know what is stored under a key.
func (p *picture) lacks(key string) bool {
	_, kept := p.kept[key]
	return !kept && key > p.passed && p.failed == nil && !transient(key)
}

func (p *picture) keep(r reading) {
	if !p.share.grow(r.size()) {
		p.fail(errNoRoom)
		return
	}
	p.kept[r.key] = r
}

// fail gives the picture up, and the memory that it has taken for what was overwritten.
func (p *picture) fail(why error) {
	p.failed = why
	for _, r := range p.kept {
		p.share.shrink(r.size())
	}
	clear(p.kept)
}

// size is about what a reading takes in a map.
func (r reading) size() int64 { return int64(len(r.key) + len(r.value) + 100) }

// keepForPictures reads what the records to be stored will overwrite, if a picture still has to show it.
// Several pictures share what is read.
func (w *writer) keepForPictures(ctx context.Context, records []record) {
	if len(w.pictures) == 0 {
		return
	}
	var keys []string
	for _, r := range records {
		if slices.ContainsFunc(w.pictures, func(p *picture) bool { return p.lacks(r.key) }) {
			keys = append(keys, r.key)
		}
	}
	if len(keys) == 0 {
		return
	}
	olds, err := w.store.read(ctx, keys)
	for _, p := range w.pictures {
		if err != nil {
			p.fail(err)
			continue
		}
		for _, old := range olds {
			if p.lacks(old.key) {
				p.keep(old)
			}
		}
	}
}
