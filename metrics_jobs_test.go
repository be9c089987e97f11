package main

import (
	"fmt"
	"slices"
	"testing"
)

func TestJobSeriesAreBoundedAndDroppedWithTheJob(t *testing.T) {
	t.Parallel()
	table := newJobTable(3)
	for i := range 3 {
		table.succeeded(fmt.Sprint("job", i), 10)
	}
	table.failed("job0") // now the most recent one
	table.succeeded("job3", -1)
	var names []string
	for _, j := range table.all() {
		names = append(names, j.name)
	}
	if want := []string{"job0", "job2", "job3"}; !slices.Equal(names, want) {
		t.Errorf("jobs = %q, want %q", names, want)
	}
	if n := len(table.byName["job3"].Value.(*jobSeries).times); n != 0 {
		t.Errorf("a success without run time left %d samples", n)
	}
	table.drop("job0")
	table.drop("never seen")
	if n := len(table.all()); n != 2 {
		t.Errorf("%d jobs after a drop, want 2", n)
	}
	for i := range 1000 {
		table.succeeded("job2", float64(i))
	}
	if s := snapshotOf(table.byName["job2"].Value.(*jobSeries).times); len(s.samples) != jobSampleSize || s.min() != 1000-jobSampleSize || s.max() != 999 {
		t.Errorf("sample = %d values from %v to %v, want the last %d of 1000", len(s.samples), s.min(), s.max(), jobSampleSize)
	}
	if got := table.all()[0].timeCount; got != 1001 {
		t.Errorf("timeCount = %d, want 1001", got)
	}
}

func TestJobSeriesShowRunsAfterTheLastReport(t *testing.T) {
	t.Parallel()
	table := newJobTable(10)
	for _, want := range []float64{1, 5, 9} {
		table.succeeded("nightly", want)
		for range 2 {
			if got := table.all()[0].shown.max; got != want {
				t.Errorf("max = %v, want %v", got, want)
			}
		}
	}
}
