package main

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestMeterDecaysAsDropwizardDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(time.Now())
		for range 300 {
			m.mark()
		}
		time.Sleep(5 * time.Second)
		if got := m.report(time.Now()).m1; got != 60 {
			t.Errorf("m1 after the first tick = %v, want 60 (300 in 5 s)", got)
		}
		time.Sleep(60 * time.Second)
		r := m.report(time.Now())
		for _, tt := range []struct {
			name      string
			got, want float64
		}{
			{"m1", r.m1, 60 * math.Exp(-1)},
			{"m5", r.m5, 60 * math.Exp(-1.0/5)},
			{"m15", r.m15, 60 * math.Exp(-1.0/15)},
			{"mean", r.whole, 300.0 / 65},
		} {
			if math.Abs(tt.got-tt.want) > 1e-9 {
				t.Errorf("%s a minute later = %v, want %v", tt.name, tt.got, tt.want)
			}
		}
	})
}

func TestReservoirPrefersRecentValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHistogram(nil, time.Now())
		for range 5000 {
			h.observe(1)
		}
		time.Sleep(3 * time.Hour) // beyond a rescale
		for range 2000 {
			h.observe(100)
		}
		s := h.sample.snapshot()
		if len(s.samples) != reservoirSize {
			t.Errorf("sample has %d values, want %d", len(s.samples), reservoirSize)
		}
		if s.quantile(.5) != 100 || h.count() != 7000 {
			t.Errorf("median = %v of %d, want 100 of 7000", s.quantile(.5), h.count())
		}
	})
}

func TestSnapshotTakesQuantilesWithoutInterpolation(t *testing.T) {
	t.Parallel()
	s := snapshotOf([]float64{5, 1, 2, 3, 4})
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {.19, 1}, {.5, 3}, {.75, 4}, {.98, 5}, {1, 5}} {
		if got := s.quantile(tt.q); got != tt.want {
			t.Errorf("quantile(%v) = %v, want %v", tt.q, got, tt.want)
		}
	}
	if math.Abs(s.mean()-3) > 1e-12 || math.Abs(s.stddev()-math.Sqrt2) > 1e-12 || s.min() != 1 || s.max() != 5 {
		t.Errorf("mean, stddev, min, max = %v, %v, %v, %v, want 3, √2, 1, 5", s.mean(), s.stddev(), s.min(), s.max())
	}
	if empty := snapshotOf(nil); empty.quantile(.5) != 0 || empty.mean() != 0 || empty.max() != 0 || empty.stddev() != 0 {
		t.Errorf("an empty sample shows something else than 0")
	}
}

func TestGaugesTellYesFromNo(t *testing.T) {
	t.Parallel()
	m := newMetrics("1")
	for _, on := range []bool{true, false, true} {
		m.leader.set(asFloat(on))
		if got := m.leader.value() == 1; got != on {
			t.Errorf("leader = %v after set(asFloat(%v))", m.leader.value(), on)
		}
	}
}
