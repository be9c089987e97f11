package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestCompression(t *testing.T) {
	t.Parallel()
	sch := testScheduler(t)
	o := leading(sch)
	o.compress = true
	s := newAPI(o)
	for i := range 50 {
		given(t, func(r string) *http.Response { return send(t, s, r) }, strings.Replace(jobA, `"a"`, fmt.Sprintf(`"a%d"`, i), 1))
	}
	plain := bodyOf(t, send(t, s, "GET /scheduler/jobs\nAccept-Encoding: gzip;q=0"))
	res := send(t, s, "GET /scheduler/jobs\nAccept-Encoding: deflate, gzip")
	if res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding, User-Agent" {
		t.Fatalf("headers = %v, want gzip", res.Header)
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != plain {
		t.Errorf("unpacked = %d bytes, %v, want the %d of the plain answer", len(got), err, len(plain))
	}
	if res := send(t, s, "GET /scheduler/leader\nAccept-Encoding: gzip"); res.Header.Get("Content-Encoding") != "" {
		t.Error("a small answer is compressed")
	}
}
