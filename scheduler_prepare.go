package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A preparation is what there may be very much of in a state that another instance leads, decoded in advance: jobs, and answers to
// requests. Taking over then takes the time for what has changed. One goroutine owns it.
type preparation struct {
	cfg     schedulerConfig
	jobs    map[string]*loadedJob
	answers map[string]namedAnswer // by the key of their record
}

type namedAnswer struct {
	id string
	requestAnswer
}

func newPreparation(cfg schedulerConfig) *preparation {
	p := &preparation{cfg: cfg}
	p.clear()
	return p
}

// update decodes again what belongs to these records, which have changed.
func (p *preparation) update(keys []string, records map[string][]byte) {
	now, done := time.Now().In(p.cfg.location), map[string]bool{}
	for _, key := range keys {
		if strings.HasPrefix(key, requestPrefix) {
			delete(p.answers, key)
			if id, a, err := decodeAnswer(key, records[key]); err == nil {
				p.answers[key] = namedAnswer{id, a}
			}
			continue
		}
		name, ok := jobOfRecord(key)
		if !ok || done[name] {
			continue
		}
		done[name] = true
		delete(p.jobs, name)
		if _, held := records["J_"+name]; held {
			l := &loadedJob{name: name}
			l.decode(records, p.cfg, &others{}, now)
			p.jobs[name] = l
		}
	}
}

// clear forgets everything.
func (p *preparation) clear() {
	if p != nil {
		p.jobs, p.answers = map[string]*loadedJob{}, map[string]namedAnswer{}
	}
}

// answer returns the answer in a record, if it is prepared.
func (p *preparation) answer(key string) (id string, a requestAnswer, ready bool) {
	if p == nil {
		return "", requestAnswer{}, false
	}
	named, ready := p.answers[key]
	return named.id, named.requestAnswer, ready
}

// job returns a job for whoever takes over, nil if it is not prepared.
func (p *preparation) job(name string) *loadedJob {
	if p == nil {
		return nil
	}
	return p.jobs[name]
}

// A preparedStore may have kept the jobs of its records decoded.
type preparedStore interface {
	store
	// prepared returns the preparation that belongs to the records that the last load has returned, nil for none. It may be asked
	// for once.
	prepared() *preparation
}

// prepared returns what has been decoded of the records, as far as nothing else has to be considered in reading them.
func (s *scheduler) prepared(records map[string][]byte) *preparation {
	st, ok := s.store.(preparedStore)
	if !ok {
		return nil
	}
	p := st.prepared()
	if _, restored := records[restoreMarker]; restored || s.others.after != 0 || len(s.cfg.setAside) > 0 {
		p.clear()
	}
	return p
}

// jobOfRecord returns the job that a record is decoded with.
func jobOfRecord(key string) (string, bool) {
	if name, ok := strings.CutPrefix(key, "J_"); ok {
		return name, true
	}
	kind := kindOf(key)
	if !slices.Contains(kindsOfJobs, kind) {
		return "", false
	}
	name, err := parseRecordName(strings.TrimPrefix(key, "go/"+kind+"/"))
	return name, err == nil
}

// A loadedJob is what the records of one job hold.
type loadedJob struct {
	name   string
	entry  *entry // nil if the job itself can't be used
	faults []invalidRecord
}

// decodeJobs decodes the records of all jobs that are not prepared. It uses all processors, since
// that is most of what a new leader has to do before it schedules.
func (s *scheduler) decodeJobs(records map[string][]byte, keys []string, prepared *preparation) []*loadedJob {
	var missing []*loadedJob
	loaded := make([]*loadedJob, len(keys))
	for i, key := range keys {
		name := strings.TrimPrefix(key, "J_")
		if loaded[i] = prepared.job(name); loaded[i] == nil {
			loaded[i] = &loadedJob{name: name}
			missing = append(missing, loaded[i])
		}
	}
	prepared.clear()
	now := s.serverTime()
	var decoders sync.WaitGroup
	for part := range slices.Chunk(missing, len(missing)/runtime.GOMAXPROCS(0)+1) {
		decoders.Go(func() {
			for _, l := range part {
				l.decode(records, s.cfg, &s.others, now)
			}
		})
	}
	decoders.Wait()
	return loaded
}

// decode reads the records of a job. now counts only for a schedule without a start of its own.
func (l *loadedJob) decode(records map[string][]byte, cfg schedulerConfig, others *others, now time.Time) {
	key := "J_" + l.name
	defer func() {
		if p := recover(); p != nil { // no single record may keep the others from being used
			l.entry, l.faults = nil, append(l.faults, invalidRecord{key, fmt.Sprintf("reading it failed: %v", p)})
		}
	}()
	j, err := decodeStoredJob(records[key], cfg.defaults)
	if err == nil && j.Name != l.name {
		err = fmt.Errorf("it holds job %q", j.Name)
	}
	if err != nil {
		l.faults = append(l.faults, invalidRecord{key, err.Error()})
		return
	}
	e := &entry{job: j, recordSize: int32(len(records[key]))}
	encoded := recordName(l.name)
	read := func(prefix string, into any) { l.decodeRecord(records, prefix+encoded, into) }
	// current reports whether a record belongs to this job, and not to one that had its name before.
	current := func(seq int64) bool { return seq == e.state.Seq && seq != 0 }
	read("go/job/", &e.state)
	e.state.share(j)
	if e.state.Deleted != 0 { // by us, and another version has created it again
		e.state = jobState{Used: e.state.Used, LastRetry: e.state.LastRetry}
	}
	l.entry = e
	if others.replaced(l.name) {
		e.state = jobState{Used: e.state.newestDue(), LastRetry: e.state.LastRetry}
		return
	}
	var notice jobNotice
	if read(noticePrefix, &notice); notice.Seq == e.state.Seq {
		e.notice = notice.Text
	}
	read("go/history/", &e.history)
	var misread misreadRecord
	read("go/warnings/", &misread)
	if current(misread.Seq) {
		j.Misread = misread.Misread
	}
	var named namedRecord
	read(namedPrefix, &named)
	if current(named.Seq) {
		j.Named = named.Named
	}
	var policy policyRecord
	read(policyPrefix, &policy)
	if current(policy.Seq) {
		e.job = j.withPolicy(readPolicy(policy.Policy))
		if e.job.hidesFromJVM() {
			e.job.Disabled = e.job.Disabled && !policy.Enabled
		}
	}
	var paused pause
	read(pausePrefix, &paused)
	if current(paused.Seq) {
		e.pause = &paused
	}
	var left backfill
	read(backfillPrefix, &left)
	if current(left.Seq) {
		e.backfill = &left
	}
	var told alert
	read(alertPrefix, &told)
	if current(told.Seq) {
		e.alert = &told
	}
	var owned ownership
	read(ownerPrefix, &owned)
	if current(owned.Seq) {
		e.owned = &owned
	}
	var ends endsRecord
	read(endsPrefix, &ends)
	if current(ends.Seq) {
		e.ends = ends
	}
	if cfg.archive.runs == 0 {
		e.history = e.history[:min(len(e.history), cfg.historyKeep)]
	}
	if !e.job.Dependent {
		e.position(now)
	}
}

// postedSchedule is the schedule as it was posted, if the document does not name another zone by now.
func (e *entry) postedSchedule(now time.Time) (Schedule, error) {
	if e.state.Posted == "" || e.state.Zone != e.job.ScheduleTimeZone {
		return Schedule{}, errNotFound
	}
	return parseSchedule(e.state.Anchor, e.state.Zone, now)
}

// position puts a schedule where we left it, if the document still says what we wrote.
func (e *entry) position(now time.Time) {
	posted, err := e.postedSchedule(now)
	if err != nil || e.state.Written != e.job.Schedule {
		return
	}
	e.sched, e.problem, e.positioned = posted.at(e.state.Index), problemOf(posted), true
	if posted.isCron() {
		e.job = e.job.clone()
		e.job.Schedule = e.state.Posted
	}
}

// decodeRecord reads one of our own records, if it is there and sound.
func (l *loadedJob) decodeRecord(records map[string][]byte, key string, into any) {
	b, ok := records[key]
	if !ok {
		return
	}
	if err := decodeKept(b, into); err != nil {
		l.faults = append(l.faults, invalidRecord{key, err.Error()})
	}
}
