package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A double is written as Java writes it: always with a fraction digit.
type double float64

func (d double) MarshalJSON() ([]byte, error) { return appendJavaDouble(nil, float64(d)), nil }

// durations returns how long after their due time the successful runs of a job's
// history ended, in ms, sorted. This is what the original calls the run time.
func durations(jv *jobView) []int64 {
	var all []int64
	for _, r := range jv.history {
		if r.State == runFinished {
			all = append(all, r.sinceDue(r.Ended))
		}
	}
	slices.Sort(all)
	return all
}

// quantile returns the q-quantile of sorted values, without interpolation, 0 for none.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)])
}

func mean(values []int64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range values {
		sum += float64(v)
	}
	return sum / float64(len(values))
}

// statistic computes one value of the histogram by its key, in ms.
func statistic(key string, sorted []int64) (value float64, known bool) {
	switch key {
	case "75thPercentile":
		return quantile(sorted, 0.75), true
	case "95thPercentile":
		return quantile(sorted, 0.95), true
	case "98thPercentile":
		return quantile(sorted, 0.98), true
	case "99thPercentile":
		return quantile(sorted, 0.99), true
	case "median":
		return quantile(sorted, 0.5), true
	case "mean":
		return mean(sorted), true
	case "count":
		return float64(len(sorted)), true
	}
	return 0, false
}

// percentiles lists one statistic of every job in seconds, the largest first,
// among equal ones the job created last. (The count is divided by 1000 too.)
func (a *api) percentiles(c *call) error {
	type entry struct {
		Job  string `json:"jobNameLabel"`
		Time double `json:"time"`
	}
	const size = 24 // of an entry
	v := c.sight()
	if !c.share.grow(size * int64(v.len())) {
		return errNoRoom
	}
	list := make([]entry, 0, v.len())
	for jv := range v.all() {
		if value, known := statistic(c.params[0], durations(jv)); known {
			list = append(list, entry{jv.job.Name, double(value / 1000)})
		}
	}
	slices.Reverse(list)
	sortStable(list, func(a, b entry) int { return cmp.Compare(b.Time, a.Time) })
	b := c.long(typeJSON)
	if writeList(b, slices.Values(list), func(e entry) []byte { return encode(e) }) == nil {
		b.Flush()
	}
	return nil
}

// A statHistogram is the first part of job/stat, in ms. Its mean is the real one; the original repeated the median.
type statHistogram struct {
	P75    double `json:"75thPercentile"`
	P95    double `json:"95thPercentile"`
	P98    double `json:"98thPercentile"`
	P99    double `json:"99thPercentile"`
	Median double `json:"median"`
	Mean   double `json:"mean"`
	Count  int    `json:"count"`
}

// A taskStat is one task in job/stat.
type taskStat struct {
	TaskID   string  `json:"taskId"`
	Job      string  `json:"jobName"`
	AgentID  *string `json:"slaveId"`
	Start    string  `json:"startTime"`
	End      string  `json:"endTime"`
	Duration string  `json:"duration,omitempty"`
	Status   string  `json:"status"`
	Elements *int64  `json:"numElementsProcessed,omitempty"`
}

func (a *api) jobStatistics(c *call) error {
	jv := c.sight().job(c.params[0])
	if jv == nil {
		return noJob(c.params[0], "Job")
	}
	d := durations(jv)
	return c.json(struct {
		Histogram statHistogram `json:"histogram"`
		Tasks     []taskStat    `json:"taskStatHistory"`
	}{statHistogram{
		P75: double(quantile(d, 0.75)), P95: double(quantile(d, 0.95)), P98: double(quantile(d, 0.98)),
		P99: double(quantile(d, 0.99)), Median: double(quantile(d, 0.5)), Mean: double(mean(d)), Count: len(d),
	}, taskStats(jv, a.options.history)})
}

// taskStats lists the tasks of a job that were given to an agent, newest start
// first, those that haven't started last; at most limit, unless that is 0.
func taskStats(jv *jobView, limit int) []taskStat {
	var launched []*Run
	for _, r := range slices.Concat(jv.runs, jv.history) {
		if r.Launched != 0 || r.Started != 0 {
			launched = append(launched, r)
		}
	}
	slices.SortStableFunc(launched, func(a, b *Run) int { return cmp.Compare(b.Started, a.Started) })
	if limit > 0 && len(launched) > limit {
		launched = launched[:limit]
	}
	stats := make([]taskStat, 0, len(launched))
	for _, r := range launched {
		t := taskStat{TaskID: r.ID, Job: r.Job, Start: localTime(r.Started), End: localTime(r.Ended), Status: taskStatus(r)}
		if r.AgentID != "" {
			t.AgentID = &r.AgentID
		}
		if r.Started != 0 && r.Ended != 0 {
			t.Duration = shortDuration(time.Duration(r.Ended-r.Started) * time.Millisecond)
		}
		if jv.job.DataProcessing && r.Elements != 0 {
			t.Elements = &r.Elements
		}
		stats = append(stats, t)
	}
	return stats
}

// taskStatus is the state of a run in the original's words.
func taskStatus(r *Run) string {
	switch {
	case r.State == runFinished:
		return "Success"
	case r.ended():
		return "Fail"
	case r.Started != 0:
		return "Running"
	}
	return "Idle"
}

// localTime writes a time in ms as job/stat does, in the zone of the process.
func localTime(ms int64) string {
	if ms == 0 {
		return "N/A"
	}
	return time.UnixMilli(ms).Format("01/02/06 15:04:05")
}

// shortDuration writes hours, minutes and seconds, leaving out zero hours and minutes: 1h2m3s, 1h0s, 26h3m4s.
func shortDuration(d time.Duration) string {
	text := ""
	if h := int64(d / time.Hour); h > 0 {
		text = fmt.Sprintf("%dh", h)
	}
	if m := int64(d / time.Minute % 60); m > 0 {
		text += fmt.Sprintf("%dm", m)
	}
	return text + fmt.Sprintf("%ds", int64(d/time.Second%60))
}
