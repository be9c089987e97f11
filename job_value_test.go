package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// The table of Jackson's conversions, as measured on the original.
func TestScalarConversions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		text  string
		i32   int32
		i64   int64
		f     float64
		truth bool
	}{
		{`"7"`, "7", 7, 7, 7, false},
		{`" 7 "`, " 7 ", 7, 7, 7, false},
		{`"5.9"`, "5.9", 5, 5, 5.9, false},
		{`"1e3"`, "1e3", 1000, 1000, 1000, false},
		{`"+3"`, "+3", 3, 3, 3, false},
		{`"-3"`, "-3", -3, -3, -3, false},
		{`""`, "", 0, 0, 0, false},
		{`"abc"`, "abc", 0, 0, 0, false},
		{`"0x10"`, "0x10", 0, 0, 0, false},
		{`"1.5abc"`, "1.5abc", 0, 0, 0, false},
		{`"1_000"`, "1_000", 0, 0, 0, false},
		{`"inf"`, "inf", 0, 0, 0, false},
		{`"2.5f"`, "2.5f", 2, 2, 2.5, false},
		{`"-"`, "-", 0, 0, 0, false},
		{`"true"`, "true", 0, 0, 0, true},
		{`" true "`, " true ", 0, 0, 0, true},
		{`"TRUE"`, "TRUE", 0, 0, 0, false},
		{`"yes"`, "yes", 0, 0, 0, false},
		{`"1"`, "1", 1, 1, 1, false},
		{`"9999999999"`, "9999999999", 0, 9999999999, 9999999999, false},
		{`"99999999999999999999"`, "99999999999999999999", 0, 0, 1e20, false},
		{`"1e10"`, "1e10", math.MaxInt32, 10000000000, 1e10, false},
		{`"NaN"`, "NaN", 0, 0, math.NaN(), false},
		{`"-Infinity"`, "-Infinity", math.MinInt32, math.MinInt64, math.Inf(-1), false},
		{`true`, "true", 1, 1, 1, true},
		{`false`, "false", 0, 0, 0, false},
		{`null`, "null", 0, 0, 0, false},
		{`5`, "5", 5, 5, 5, true},
		{`0`, "0", 0, 0, 0, false},
		{`-0`, "0", 0, 0, 0, false},
		{`5.9`, "5.9", 5, 5, 5.9, false},
		{`1e3`, "1000.0", 1000, 1000, 1000, false},
		{`1.50`, "1.5", 1, 1, 1.5, false},
		{`-1e300`, "-1.0E300", math.MinInt32, math.MinInt64, -1e300, false},
		{`9999999999`, "9999999999", 1410065407, 9999999999, 9999999999, true},
		{`18446744073709551617`, "18446744073709551617", 1, 1, 18446744073709551617, true},
		{`[]`, "", 0, 0, 0, false},
		{`[1]`, "", 0, 0, 0, false},
		{`{"a":1}`, "", 0, 0, 0, false},
		{`"\u00e9\n\ud83d\ude00"`, "é\n😀", 0, 0, 0, false},
	}
	for _, tt := range tests {
		v := value(tt.in)
		if got := v.text(); got != tt.text {
			t.Errorf("text(%s) = %q, want %q", tt.in, got, tt.text)
		}
		if got := v.int32(); got != tt.i32 {
			t.Errorf("int32(%s) = %d, want %d", tt.in, got, tt.i32)
		}
		if got := v.int64(); got != tt.i64 {
			t.Errorf("int64(%s) = %d, want %d", tt.in, got, tt.i64)
		}
		if got := v.double(); got != tt.f && !(math.IsNaN(got) && math.IsNaN(tt.f)) {
			t.Errorf("double(%s) = %v, want %v", tt.in, got, tt.f)
		}
		if got := v.bool(); got != tt.truth {
			t.Errorf("bool(%s) = %v, want %v", tt.in, got, tt.truth)
		}
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`[]`, ""},
		{`[ ]`, ""},
		{`["a", 1 ,[2, {"b":"]"}],null]`, `"a"|1|[2, {"b":"]"}]|null`},
		{`{"x": "a", "y":2}`, `"a"|2`},
		{`{"x":1,"y":2,"x":3}`, `3|2`},
		{`"a"`, ""},
		{`null`, ""},
		{`7`, ""},
		{``, ""},
	}
	for _, tt := range tests {
		var got []string
		for _, e := range value(tt.in).elements() {
			got = append(got, string(e))
		}
		if s := strings.Join(got, "|"); s != tt.want {
			t.Errorf("elements(%s) = %s, want %s", tt.in, s, tt.want)
		}
	}
}

func TestObjectLastKeyWinsAndNullIsAbsent(t *testing.T) {
	t.Parallel()
	o := value(`{ "a" : 1, "\u0061":"two\"" , "b":null,"c":{"a":[]},"d":1,"d":null }`).object()
	tests := []struct {
		key  string
		want value
	}{
		{"a", `"two\""`}, {"b", ""}, {"c", `{"a":[]}`}, {"d", ""}, {"e", ""},
	}
	for _, tt := range tests {
		if got := o.get(tt.key); got != tt.want {
			t.Errorf("get(%q) = %s, want %s", tt.key, got, tt.want)
		}
	}
}

func TestParseValueTakesTheFirstValue(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"a":1}`, `{"a":1}`},
		{" \n{\"a\":1}\t\n", `{"a":1}`},
		{"\ufeff{}", `{}`},
		{`{} garbage`, `{}`},
		{`{}{"b":2}`, `{}`},
		{"\ufeff [1] ]", `[1]`},
	}
	for _, tt := range tests {
		if got, err := parseValue([]byte(tt.in)); string(got) != tt.want || err != nil {
			t.Errorf("parseValue(%q) = %s, %v, want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestParseValueSaysWhere(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{``, "line 1, column 1"},
		{`{"a":}`, "line 1, column 6"},
		{"{\n \"a\": 1,\n}", "line 3, column 1"},
		{`{"a":1`, "line 1, column 6"},
		{`{'a':1}`, "line 1, column 2"},
		{`{"a":NaN}`, "line 1, column 6"},
		{`{"a":01}`, "line 1, column 7"},
		{"{\n\"a\": \"\xff\"}", "line 2, column 7"},
		{`{"a":"�","b":"` + "\xff" + `"}`, "line 1, column 15"},
		{strings.Repeat("[", 20000), "line 1, column 10001"},
	}
	for _, tt := range tests {
		_, err := parseValue([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want+":") {
			t.Errorf("parseValue(%.20q) = %v, want an error at %s", tt.in, err, tt.want)
		}
	}
}

// Walking a document must see what encoding/json sees in it.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,{"b":"\\\"]}"},null],"c":-1.5e+3,"a":{}}`, `[[],{},"",0]`, ` { "\u0061" : [ true , false ] } `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseValue(data)
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(v), &want); err != nil && !strings.Contains(err.Error(), "out of range") {
			t.Fatalf("parseValue(%q) = %q, which is %v", data, v, err)
		}
		v.int32()
		v.bool()
		switch want := want.(type) {
		case string:
			if got := v.text(); got != want {
				t.Errorf("text(%s) = %q, want %q", v, got, want)
			}
		case []any:
			if got := v.elements(); len(got) != len(want) {
				t.Errorf("elements(%s) = %q, want %d of them", v, got, len(want))
			}
		case map[string]any:
			o := v.object().unique()
			if len(o) != len(want) {
				t.Fatalf("object(%s) = %q, want %d members", v, o, len(want))
			}
			for _, m := range o {
				if w, ok := want[m.key].(string); ok && m.value.text() != w {
					t.Errorf("object(%s)[%q] = %s, want %q", v, m.key, m.value, w)
				}
			}
		}
	})
}
