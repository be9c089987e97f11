package mesostest

import (
	"embed"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"
)

//go:embed testdata
var recordings embed.FS

// An Item is one item of a recording of the traffic between a scheduler and a real Mesos.
type Item struct {
	T       float64 // seconds since the beginning
	Kind    string  // request, response, event, stream-closed, note
	Name    string  // of the request that it is or answers, or of the stream
	Method  string
	Path    string
	Status  string // first line of a response
	How     string // a stream has ended
	Text    string
	Headers [][2]string
	Body    json.RawMessage
	Event   json.RawMessage
}

// Header returns the value of a header, "" if there is none.
func (r Item) Header(name string) string {
	for _, h := range r.Headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// payload is a request's body as it was sent.
func (r Item) payload() []byte {
	var text struct {
		Text *string `json:"_text"`
	}
	switch {
	case len(r.Body) == 0 || string(r.Body) == "null":
		return nil
	case json.Unmarshal(r.Body, &text) == nil && text.Text != nil:
		return []byte(*text.Text)
	}
	return r.Body
}

// Recordings lists the names of all recordings.
func Recordings(t testing.TB) []string {
	t.Helper()
	files, err := recordings.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			names = append(names, name)
		}
	}
	return names
}

// ReadRecording returns the recording of that name.
func ReadRecording(t testing.TB, name string) []Item {
	t.Helper()
	var items []Item
	if err := json.Unmarshal(ReadFile(t, name+".json"), &items); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
	return items
}

// ReadFile returns the contents of a file beside the recordings: raw-protobuf has the bytes of a
// subscription in protobuf as they were on the wire.
func ReadFile(t testing.TB, name string) []byte {
	t.Helper()
	contents, err := recordings.ReadFile(path.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// AnswerTo finds the recorded answer to a request among the items after it, nil if there is none.
func AnswerTo(later []Item, request Item) *Item {
	i := slices.IndexFunc(later, func(it Item) bool { return it.Kind == "response" && it.Name == request.Name })
	if i < 0 {
		return nil
	}
	return &later[i]
}
