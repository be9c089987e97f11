package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestYAML(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"a mapping", "a: 1\nb: text here # and a comment\nc: 'it''s'\nd: \"x\\ny\"\n", `{"a":1,"b":"text here","c":"it's","d":"x\ny"}`},
		{"within another", "a:\n  b:\n    c: true\n  d: null\n", `{"a":{"b":{"c":true},"d":null}}`},
		{"sequences, indented or not", "a:\n- 1\n- 2\nb:\n  - x: 1\n    y: 2\n  - z\n", `{"a":[1,2],"b":[{"x":1,"y":2},"z"]}`},
		{"in braces", "a: {b: [1, \"2\", {c: d}], e: }\n", `{"a":{"b":[1,"2",{"c":"d"}],"e":null}}`},
		{"over several lines", "a: [1,\n  2]\nb: 3\n", `{"a":[1,2],"b":3}`},
		{"JSON", `{"a": {"b": ["c", true, 3]}, "d": "e: f"}`, `{"a":{"b":["c",true,3]},"d":"e: f"}`},
		{"a literal text", "a: |\n  one\n    two\n\n  three\nb: 1\n", `{"a":"one\n  two\n\nthree\n","b":1}`},
		{"after a separator", "---\na: 1\n", `{"a":1}`},
		{"a value with colons", "a: https://h:1/x\n", `{"a":"https://h:1/x"}`},
		{"sequences of sequences", "- - 1\n  - 2\n- 3\n", `[[1,2],3]`},
		{"texts that look like numbers", "a: \"1\"\nb: 01\nc: 1.5\n", `{"a":"1","b":"01","c":"1.5"}`},
	}
	for _, tt := range tests {
		got, err := parseYAML(tt.in)
		text, _ := json.Marshal(got)
		if err != nil || string(text) != tt.want {
			t.Errorf("%s: %s, %v\nwant %s", tt.name, text, err, tt.want)
		}
	}
	for _, in := range []string{"a: &x 1", "a: *x", "a: !t 1", "a: 1\n   b: 2", "a: [1", "a: \"x", "a: 1\na: 2", "\ta: 1", "a: {b 1}", "a: 1\n- b"} {
		if got, err := parseYAML(in); err == nil {
			t.Errorf("%q is read as %v, want an error", in, got)
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add(testKubeconfig)
	f.Add("a: {b: [c, 'd']}\n- e")
	f.Fuzz(func(t *testing.T, text string) {
		value, err := parseYAML(text)
		if err == nil && strings.HasPrefix(text, "{") {
			if _, err := json.Marshal(value); err != nil {
				t.Errorf("%q is read as what is no JSON: %v", text, err)
			}
		}
	})
}
