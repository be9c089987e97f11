package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chronos-go/chronos/internal/mesostest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestRecordReader(t *testing.T) {
	tests := []struct {
		name, in, want string
		err            string
	}{
		{"nothing", "", "", "EOF"},
		{"records", "5\nhello3\nfoo", "hello|foo", "EOF"},
		{"an empty record", "0\n1\nx", "|x", "EOF"},
		{"leading zeros", "05\nhello", "hello", "EOF"},
		{"cut within a record", "5\nhel", "", "read record of 5 bytes: unexpected EOF"},
		{"cut before a record", "5\n", "", "read record of 5 bytes: unexpected EOF"},
		{"cut within a length", "12", "", "unexpected EOF"},
		{"no length", "\nhello", "", `read record length: '\n' is no digit`},
		{"a sign", "-1\nx", "", `read record length: '-' is no digit`},
		{"no number", "HTTP/1.1 400", "", `read record length: 'H' is no digit`},
		{"the greatest 64-bit number", "18446744073709551615\n", "", "read record length: more than 67108864 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				got, err := allRecords(r)
				if strings.Join(got, "|") != tt.want || err.Error() != tt.err {
					t.Errorf("records of %q = %q, %v, want %q, %s", tt.in, got, err, tt.want, tt.err)
				}
			}
		})
	}
}

func allRecords(r io.Reader) (records []string, err error) {
	reader := newRecordReader(r)
	for {
		record, err := reader.next()
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

func TestRecordReaderTakesLargeRecords(t *testing.T) {
	const size = 9 << 20 // beyond what mesos-go's own reader takes
	in := io.MultiReader(strings.NewReader(fmt.Sprintf("%d\n", size)), strings.NewReader(strings.Repeat("x", size)))
	record, err := newRecordReader(in).next()
	if err != nil || len(record) != size {
		t.Errorf("record of %d bytes, %v, want %d", len(record), err, size)
	}
}

// TestRecordedStreams reads raw bytes that a master has sent.
func TestRecordedStreams(t *testing.T) {
	raw := mesostest.ReadFile(t, "raw-protobuf/subscribe-response.bin")
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var kinds []string
	r := newRecordReader(resp.Body)
	for {
		record, err := r.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // the recording stops somewhere
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e := &sched.Event{}
		if err := e.Unmarshal(record); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Type.String())
	}
	if got, want := strings.Join(kinds, " "), "SUBSCRIBED HEARTBEAT"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
}
