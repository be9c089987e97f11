package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
		passed         bool
	}{
		{"what passes is a line", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t1.6s\n"}
{"Action":"pass","Package":"p","Elapsed":1.6}
`, `ok  	p	1.6s

The slowest tests, in seconds:
    1.5  TestA  p
`, true},
		{"what fails is shown whole", `
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: wrong\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestB","Output":"    a_test.go:2: right\n"}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p","Elapsed":0.1}
`, `    a_test.go:1: wrong
--- FAIL: TestA (0.00s)
FAIL	p	0.1s

The slowest tests, in seconds:
    0.0  TestA  p
    0.0  TestB  p
`, false},
		{"what never ended is shown too", `
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: so far so good\n"}
{"Action":"output","Package":"p","Output":"panic: test timed out after 1m0s\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t60s\n"}
{"Action":"fail","Package":"p","Elapsed":60}
`, `    a_test.go:1: so far so good
panic: test timed out after 1m0s
FAIL	p	60s
`, false},
		{"what does not build", `
{"ImportPath":"p [p.test]","Action":"build-output","Output":"a_test.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}
`, `a_test.go:1: undefined: x
FAIL	p [build failed]
`, false},
		{"a test takes as long as its subtests", `
{"Action":"pass","Package":"p","Test":"TestA/x/1","Elapsed":2}
{"Action":"pass","Package":"p","Test":"TestA/x","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestA/y","Elapsed":3}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":4}
{"Action":"pass","Package":"p","Elapsed":9}
`, `
The slowest tests, in seconds:
    5.0  TestA  p
    4.0  TestB  p
`, true},
		{"what is no JSON", "go: downloading x v1.0.0\n", "go: downloading x v1.0.0\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(strings.TrimPrefix(tt.in, "\n"))); err != nil {
				t.Fatal(err)
			}
			if passed := r.finish(); out.String() != tt.want || passed != tt.passed {
				t.Errorf("passed = %t, wrote\n%s\nwant %t\n%s", passed, &out, tt.passed, tt.want)
			}
		})
	}
}
