package main

import "testing"

func BenchmarkAppendJSON(b *testing.B) {
	j, err := decodeJob(readTestdata(b, "examples/c.post.json"), testDefaults(), dialect3, nil)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = j.appendJSON(buf[:0], dialectStored)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeJob(b *testing.B) {
	data := readTestdata(b, "examples/c.stored.json")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeStoredJob(data, testDefaults()); err != nil {
			b.Fatal(err)
		}
	}
}

// An edited command, found in two documents.
func BenchmarkDifferences(b *testing.B) {
	j := &Job{Name: "a", Command: "/usr/local/bin/backup --target 7 --quiet", Owner: "ops@example.com", Description: "copies what has changed since yesterday", Schedule: "R/2030-01-01T00:00:00Z/PT1H"}
	next := j.clone()
	next.Command += " --again"
	b.ReportAllocs()
	for b.Loop() {
		if n := len(j.differences(next)); n != 1 {
			b.Fatal(n)
		}
	}
}
