package mesostest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// TestRecordingsSurviveMesosGo decodes every recorded call and event with
// mesos-go's types, takes it through protobuf, and compares what is left.
func TestRecordingsSurviveMesosGo(t *testing.T) {
	names := Recordings(t)
	if len(names) < 25 {
		t.Fatalf("recordings are missing: %v", names)
	}
	for _, name := range names {
		items := ReadRecording(t, name)
		for i, it := range items {
			if e := eventOf(t, it); e != nil {
				again := &sched.Event{}
				throughProtobuf(t, e, again)
				sameJSON(t, fmt.Sprintf("%s %.3f", name, it.T), readable(it.Event), again)
			}
			if it.Kind == "request" && it.Path == schedulerPath && accepted(items[i:], it) {
				c, again := &sched.Call{}, &sched.Call{}
				if err := ReadJSON(it.Body, c); err != nil {
					t.Errorf("%s %.3f: decode %s: %v", name, it.T, it.Body, err)
					continue
				}
				throughProtobuf(t, c, again)
				sameJSON(t, fmt.Sprintf("%s %.3f %s", name, it.T, it.Name), it.Body, again)
			}
		}
	}
}

// accepted reports whether the real master took a request.
func accepted(later []Item, request Item) bool {
	answer := AnswerTo(later, request)
	return answer != nil && strings.Contains(answer.Status, " 20") && !strings.Contains(string(request.Body), "frobnicate")
}

type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

func throughProtobuf(t *testing.T, from, to message) {
	t.Helper()
	b, err := from.Marshal()
	if err != nil {
		t.Fatalf("encode %v: %v", from, err)
	}
	if err := to.Unmarshal(b); err != nil {
		t.Fatalf("decode %v: %v", from, err)
	}
}

func sameJSON(t *testing.T, where string, want []byte, message any) {
	t.Helper()
	body, err := JSON(message)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if a, b = pruned(a), pruned(b); !reflect.DeepEqual(a, b) {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		t.Errorf("%s:\n got %s\nwant %s", where, x, y)
	}
}

// TestProtobufRecording reads the raw bytes of a subscription in protobuf.
func TestProtobufRecording(t *testing.T) {
	_, body, _ := bytes.Cut(ReadFile(t, "raw-protobuf/subscribe-request.bin"), []byte("\r\n\r\n"))
	call := &sched.Call{}
	if err := call.Unmarshal(body); err != nil || call.Type != sched.Call_SUBSCRIBE {
		t.Fatalf("recorded call = %v, %v", call, err)
	}
	again, err := call.Marshal()
	if err != nil || !bytes.Equal(again, body) {
		t.Errorf("encoded again = %x, %v, want %x", again, err, body)
	}
}
