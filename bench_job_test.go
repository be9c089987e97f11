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
