package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// surveyInterval is how often an instance that does not stand for election checks whether it may again.
	surveyInterval = 2 * time.Second
	// pulseInterval is how often a request is sent to a server, so that its silence is noticed.
	pulseInterval = time.Second
)

// errEmptied ends a session in which the state was found to be gone.
var errEmptied = errors.New("the state in ZooKeeper has been emptied")

// A recollection is what this process has seen of the state in ZooKeeper since its start, as leader or
// follower. A state that is gone, or older than that, is not led as if nothing had happened.
type recollection struct {
	mu   sync.Mutex
	seen termMark
}

func (r *recollection) mark() termMark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// keep records how far the state has advanced. The number of a term never falls, and what was seen is not
// forgotten because it is gone.
func (r *recollection) keep(m termMark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.term = max(m.term, r.seen.term)
	if m.node != "" {
		r.seen = m
	}
}

// A stateVerdict is how a state in ZooKeeper compares with what was seen before.
type stateVerdict int

const (
	stateKnown   stateVerdict = iota // or seen for the first time
	stateSetBack                     // older than it was
	stateEmptied                     // gone
)

// judgeState compares a state with what was last seen of it. A state without jobs has been emptied by somebody,
// unless it continues the one seen: then the last job was deleted, or an empty backup restored.
func judgeState(seen, present termMark, jobs bool) stateVerdict {
	goesOn := present.node == seen.node && present.version >= seen.version
	switch {
	case seen.node == "" || goesOn:
		return stateKnown
	case !jobs:
		return stateEmptied
	case present.node == seen.node:
		return stateSetBack
	}
	return stateKnown
}

// survey examines the state before anything is created there.
func (l *leadership) survey(session *zkSession, root string) (stateVerdict, termMark, error) {
	seen := l.memory.mark() // before the state is read, since it may advance meanwhile
	var present termMark
	err := l.ensemble.ask(func() (err error) {
		present, err = readTermMark(session, root)
		return err
	})
	if err != nil {
		return stateKnown, present, fmt.Errorf("examine the state: %w", err)
	}
	verdict := judgeState(seen, present, false)
	if verdict == stateKnown {
		return verdict, present, nil
	}
	// A state that somebody else leads is the one to follow.
	names, err := latchNodes(session, root+"/candidate", nil)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return verdict, present, err
	}
	if len(names) > 0 && names[0] == present.latch && !l.candidate.isMine(names[0]) {
		return stateKnown, present, nil
	}
	jobs, err := holdsJobNodes(session, root)
	if err != nil {
		return verdict, present, err
	}
	verdict = judgeState(seen, present, jobs)
	if verdict == stateEmptied && l.acceptEmpty == seen.node {
		l.log.Warn("the state has been emptied; leading it, as --accept_empty_state says", "node", seen.node)
		verdict = stateKnown
	}
	return verdict, present, nil
}

// holdsJobNodes reports whether there is a job in the state.
func holdsJobNodes(session *zkSession, root string) (bool, error) {
	names, _, err := session.Children(root + "/state")
	if errors.Is(err, zk.ErrNoNode) {
		return false, nil
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "J_") }), err
}

// awaitState returns when there is a state for which this instance may stand. Until then it creates nothing, and
// follows whoever leads.
func (l *leadership) awaitState(ctx context.Context, session *zkSession, root string) error {
	standing, stop := both(ctx, session.ctx)
	defer stop(nil)
	for {
		verdict, present, err := l.survey(session, root)
		if err != nil {
			return err
		}
		if verdict != stateEmptied {
			l.emptied.note(l.log, "")
			if verdict == stateKnown {
				l.memory.keep(present)
			}
			return nil
		}
		l.emptied.note(l.log, fmt.Sprintf("there is no job below %s, and %s. This instance does not lead such a state, and checks again every few seconds. "+
			"Bring the state back (chronos restore, or a backup of ZooKeeper), or start an instance with --accept_empty_state %s",
			root, describeLoss(l.memory.mark(), present), l.memory.mark().node))
		if err := l.followWithoutStanding(session, root); err != nil {
			return err
		}
		if !rest(standing, surveyInterval) {
			<-session.ctx.Done() // which this process ends, unless the session ends by itself
			return context.Cause(session.ctx)
		}
	}
}

// describeLoss says what shows that a state was emptied.
func describeLoss(seen, present termMark) string {
	switch present.node {
	case "":
		return "go/term, which this process has seen there, is gone"
	case seen.node:
		return fmt.Sprintf("go/term has version %d, after %d", present.version, seen.version)
	}
	return "go/term is not the node that this process has seen there"
}

// followWithoutStanding tells the seat who leads, if anybody does.
func (l *leadership) followWithoutStanding(session *zkSession, root string) error {
	names, err := latchNodes(session, root+"/candidate", nil)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	names = slices.DeleteFunc(names, l.candidate.isMine) // of lost sessions
	id, at, err := leaderOf(session, root, append(names, "")[0])
	if errors.Is(err, zk.ErrNoNode) {
		return nil // it is gone already
	}
	if err == nil {
		l.seat.follow(id, at)
	}
	return err
}

// confirm is called by a new leader once it has loaded the state, which might have been emptied meanwhile.
func (l *leadership) confirm(st *zkStore, s *scheduler) error {
	seen, mark := l.memory.mark(), st.mark()
	if seen.node != "" && seen.node != mark.node && seen.node != l.acceptEmpty && s.empty() {
		return errEmptied
	}
	l.memory.keep(mark)
	return nil
}

// enterState is called by a new leader before it creates anything: it makes sure that the state is not gone, and
// reports if it is older than before. It returns the number that its term has to exceed.
func (l *leadership) enterState(session *zkSession, root string) (above int64, err error) {
	verdict, present, err := l.survey(session, root)
	if err != nil {
		return 0, err
	}
	seen := l.memory.mark()
	switch verdict {
	case stateEmptied:
		return 0, errEmptied
	case stateSetBack:
		text := fmt.Sprintf("the state in ZooKeeper was set back: go/term had version %d (term %d) when this process last saw it, and now has %d (term %d). "+
			"What was stored in between is lost, and jobs may run again; if that was not intended, restore a newer backup", seen.version, seen.term, present.version, present.term)
		l.log.Error(text)
		l.remarks.add(text)
		l.metrics.stateSetBack.inc()
	}
	l.memory.keep(present)
	above = l.memory.mark().term
	if l.lastTerm != nil {
		if last := l.lastTerm(); last.counter == present.node {
			above = max(above, last.number)
		}
	}
	return above, nil
}

// pulse surveys the state now and then, so that the silence of a server is noticed, and what this process knows
// of the state stays true. It returns when the session ends, or with errEmptied.
func (l *leadership) pulse(session *zkSession, root string) error {
	for rest(session.ctx, pulseInterval) {
		verdict, present, err := l.survey(session, root)
		switch {
		case err != nil:
			return err
		case verdict == stateEmptied:
			return errEmptied
		case verdict == stateKnown:
			l.memory.keep(present)
		}
	}
	return context.Cause(session.ctx)
}

// watchEnsemble reports, until ctx ends, when ZooKeeper does not serve.
func (l *leadership) watchEnsemble(ctx context.Context) {
	for rest(ctx, pulseInterval) {
		l.unserved.note(l.log, l.ensemble.trouble())
	}
}

// problems returns what people should know about the state in ZooKeeper.
func (l *leadership) problems() (all []string) {
	for _, t := range []*trouble{&l.emptied, &l.unserved, &l.strangers} {
		if p := t.problem(); p != "" {
			all = append(all, p)
		}
	}
	return append(all, l.remarks.problems()...)
}

// compareAccess looks for instances that let others do other things than this one does: where one of them leads, or is asked, roles
// hold nobody back.
func (l *leadership) compareAccess(self instance, ids []string, peers map[string]instance) {
	if self.Access == "" {
		return
	}
	var without, other []string
	for _, id := range ids {
		switch at := peers[id]; {
		case id == l.seat.id:
		case at.Access == "":
			without = append(without, id)
		case at.Access != self.Access:
			other = append(other, id)
		}
	}
	var why []string
	if without != nil {
		why = append(why, "everybody, or whoever knows the one password, may do everything at "+strings.Join(without, ", "))
	}
	if other != nil {
		why = append(why, "other options are set at "+strings.Join(other, ", "))
	}
	l.strangers.note(l.log, strings.Join(why, "; "))
}

// obstacle returns why nobody leads, as far as this instance knows, "" for no special reason, and whether that
// lasts until a person acts.
func (l *leadership) obstacle() (why string, lasts bool) {
	if why := l.emptied.problem(); why != "" {
		return why, true
	}
	return l.unserved.problem(), false
}
