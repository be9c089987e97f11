package main

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of series. The zero value of counter and gauge is ready to use. All
// are safe for concurrent use, and none waits for anything but a short lock.

// A counter only grows.
type counter struct{ n atomic.Int64 }

func (c *counter) inc()         { c.n.Add(1) }
func (c *counter) add(n int64)  { c.n.Add(n) }
func (c *counter) count() int64 { return c.n.Load() }

// A level is a counter that also falls: Dropwizard shows it as a counter, Prometheus as a gauge.
type level struct{ counter }

// A gauge is a value that its owner sets, or a function that is asked at each
// report. The function must not block.
type gauge struct {
	bits atomic.Uint64
	ask  atomic.Pointer[func() float64]
}

func (g *gauge) set(v float64)           { g.bits.Store(math.Float64bits(v)) }
func (g *gauge) from(ask func() float64) { g.ask.Store(&ask) }

func (g *gauge) add(delta float64) {
	for {
		old := g.bits.Load()
		if g.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+delta)) {
			return
		}
	}
}

func (g *gauge) value() float64 {
	if ask := g.ask.Load(); ask != nil {
		return (*ask)()
	}
	return math.Float64frombits(g.bits.Load())
}

// rateTick is the interval at which Dropwizard folds new events into its moving averages.
const rateTick = 5 * time.Second

// A meter counts events and keeps the averages of their rate over 1, 5 and 15 minutes,
// exponentially weighted as in Dropwizard (and uptime).
type meter struct {
	counter
	folding sync.Mutex
	start   time.Time
	folded  time.Time // the time up to which rates are computed: start plus whole ticks
	seen    int64     // count at folded
	rates   [3]float64
}

func newMeter(now time.Time) *meter { return &meter{start: now, folded: now} }

func (m *meter) mark() {
	m.fold(time.Now())
	m.inc()
}

// rateWindows are the periods, in minutes, over which the rates are averages.
var rateWindows = [3]float64{1, 5, 15}

func (m *meter) fold(now time.Time) {
	m.folding.Lock()
	defer m.folding.Unlock()
	ticks := int(now.Sub(m.folded) / rateTick)
	if ticks <= 0 {
		return
	}
	first := m.folded.Equal(m.start)
	total := m.count()
	current := float64(total-m.seen) / rateTick.Seconds()
	for i, minutes := range rateWindows {
		alpha := 1 - math.Exp(-rateTick.Minutes()/minutes)
		if first {
			m.rates[i] = current
		} else {
			m.rates[i] += alpha * (current - m.rates[i])
		}
		// Nothing has happened in the ticks after the first.
		m.rates[i] *= math.Pow(1-alpha, float64(ticks-1))
	}
	m.seen = total
	m.folded = m.folded.Add(time.Duration(ticks) * rateTick)
}

// meterReport is what a meter shows; rates are events per second.
type meterReport struct {
	count              int64
	m1, m5, m15, whole float64
}

func (m *meter) report(now time.Time) meterReport {
	m.fold(now)
	m.folding.Lock()
	defer m.folding.Unlock()
	r := meterReport{count: m.count(), m1: m.rates[0], m5: m.rates[1], m15: m.rates[2]}
	if up := now.Sub(m.start).Seconds(); up > 0 {
		r.whole = float64(r.count) / up
	}
	return r
}

// A histogram counts values in fixed buckets, for Prometheus, and keeps a sample of
// them that favours newer ones, for Dropwizard.
type histogram struct {
	bounds []float64       // upper bounds, ascending; without +Inf
	counts []atomic.Uint64 // one more than bounds; not cumulative
	sum    gauge
	sample reservoir
}

func newHistogram(bounds []float64, now time.Time) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1), sample: reservoir{start: now}}
}

func (h *histogram) observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	h.sum.add(v)
	h.sample.update(v, time.Now())
}

func (h *histogram) count() (n int64) {
	for i := range h.counts {
		n += int64(h.counts[i].Load())
	}
	return n
}

// A timer is a histogram of durations in seconds, and a meter of their number.
type timer struct {
	histogram
	rate *meter
}

func newTimer(bounds []float64, now time.Time) *timer {
	return &timer{histogram: *newHistogram(bounds, now), rate: newMeter(now)}
}

func (t *timer) observe(d time.Duration) {
	t.histogram.observe(max(0, d.Seconds()))
	t.rate.mark()
}

// Dropwizard's default reservoir: with 1028 samples and this weight, the sample leans
// on the last five minutes.
const (
	reservoirSize    = 1028
	reservoirAlpha   = 0.015
	reservoirRescale = time.Hour
)

// A reservoir is a forward-decaying priority sample (Cormode et al. 2009), as in
// Dropwizard's ExponentiallyDecayingReservoir. Its memory grows with use.
type reservoir struct {
	mu     sync.Mutex
	start  time.Time // landmark that weights count from
	sample sampleHeap
}

type weighted struct{ value, weight, priority float64 }

// A sampleHeap has the lowest priority first, for container/heap.
type sampleHeap []weighted

func (h sampleHeap) Len() int           { return len(h) }
func (h sampleHeap) Less(i, j int) bool { return h[i].priority < h[j].priority }
func (h sampleHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *sampleHeap) Push(x any)        { *h = append(*h, x.(weighted)) }
func (h *sampleHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

func (r *reservoir) update(v float64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.start) >= reservoirRescale {
		r.rescale(now)
	}
	w := math.Exp(reservoirAlpha * now.Sub(r.start).Seconds())
	item := weighted{v, w, w / (1 - rand.Float64())}
	if len(r.sample) < reservoirSize {
		heap.Push(&r.sample, item)
		return
	}
	if item.priority > r.sample[0].priority {
		r.sample[0] = item
		heap.Fix(&r.sample, 0)
	}
}

// rescale moves the landmark to now, before weights overflow. It keeps the heap's order.
func (r *reservoir) rescale(now time.Time) {
	factor := math.Exp(-reservoirAlpha * now.Sub(r.start).Seconds())
	for i := range r.sample {
		r.sample[i].weight *= factor
		r.sample[i].priority *= factor
	}
	r.start = now
}

func (r *reservoir) snapshot() snapshot {
	r.mu.Lock()
	s := snapshot{samples: slices.Clone(r.sample)}
	r.mu.Unlock()
	return s.normalised()
}

// A snapshot is a fixed sample, in ascending order, with weights that add up to 1.
type snapshot struct{ samples []weighted }

// snapshotOf returns the snapshot of values of equal weight.
func snapshotOf(values []float64) snapshot {
	s := snapshot{samples: make([]weighted, len(values))}
	for i, v := range values {
		s.samples[i] = weighted{value: v, weight: 1}
	}
	return s.normalised()
}

func (s snapshot) normalised() snapshot {
	total := 0.0
	for _, w := range s.samples {
		total += w.weight
	}
	slices.SortFunc(s.samples, func(a, b weighted) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	for i := range s.samples {
		if total > 0 {
			s.samples[i].weight /= total
		}
	}
	return s
}

// quantile is the value of the last sample for which the weights before it add up to
// at most q, as in Dropwizard: no interpolation. It is 0 for an empty sample.
func (s snapshot) quantile(q float64) float64 {
	value, before := 0.0, 0.0
	for _, w := range s.samples {
		if before > q {
			break
		}
		value = w.value
		before += w.weight
	}
	return value
}

func (s snapshot) min() float64 {
	if len(s.samples) == 0 {
		return 0
	}
	return s.samples[0].value
}

func (s snapshot) max() float64 {
	if len(s.samples) == 0 {
		return 0
	}
	return s.samples[len(s.samples)-1].value
}

func (s snapshot) mean() (mean float64) {
	for _, w := range s.samples {
		mean += w.value * w.weight
	}
	return mean
}

func (s snapshot) stddev() float64 {
	if len(s.samples) < 2 {
		return 0
	}
	mean, variance := s.mean(), 0.0
	for _, w := range s.samples {
		variance += w.weight * (w.value - mean) * (w.value - mean)
	}
	return math.Sqrt(variance)
}

type failure struct {
	text string
	time time.Time
}

func asFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
