package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// policyExamples is a value for each key of ours, as the job reference has them.
func policyExamples(t testing.TB) map[string]string {
	t.Helper()
	examples := map[string]string{}
	for _, row := range policyTable(t) {
		examples[strings.Trim(row[0], "`")] = strings.Trim(row[3], "`")
	}
	return examples
}

// policyTable is the cells of the table in docs/jobs.md.
func policyTable(t testing.TB) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| key | value | default |")
	if !ok {
		t.Fatal("docs/jobs.md has no table of keys")
	}
	for _, line := range strings.Split(table, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 7 {
			t.Fatalf("docs/jobs.md: %d cells in %s", len(cells), line)
		}
		rows = append(rows, cells)
	}
	return rows
}

// The table of the job reference says what the code does.
func TestPolicyKeysAreDocumented(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, row := range policyTable(t) {
		name, example := strings.Trim(row[0], "`"), strings.Trim(row[3], "`")
		documented = append(documented, name)
		if name == secretsMember {
			if row[1] != secretKind || example != `"environmentVariables":[{"name":"DB","secret":"db-password"}]` {
				t.Errorf("secrets are documented as %q, with the example %s", row[1], example)
			}
			continue // TestSecretsInJobDocuments has the rest
		}
		key := policyKeyOf(name)
		if key == nil {
			t.Errorf("key %q is documented, and there is none", name)
			continue
		}
		if row[1] != key.kind || row[2] != key.byDefault {
			t.Errorf("key %q is documented as %q, default %q; it is %q, default %q", name, row[1], row[2], key.kind, key.byDefault)
		}
		doc := `{"name":"a","command":"x","schedule":"R1//PT1H",` + example + `}`
		j, err := decodeJob([]byte(doc), jobDefaults{}, dialect2, nil)
		if err != nil || j.Policy == nil || key.text(j.Policy) == nil {
			t.Errorf("the example of key %q, %s: %v, policy %+v", name, example, err, j)
			continue
		}
		for _, d := range []dialect{dialect2, dialect3} {
			if listed := string(j.appendListJSON(nil, d)); !strings.Contains(listed, ","+example) {
				t.Errorf("the example of key %q, %s, is listed as %s", name, example, listed)
			}
		}
		if stored := string(j.appendJSON(nil, dialectStored)); strings.Contains(stored, name) {
			t.Errorf("key %q is in the document that JVM versions read: %s", name, stored)
		}
	}
	for _, k := range policyKeys {
		if !slices.Contains(documented, k.name) {
			t.Errorf("key %q is not in the table of docs/jobs.md", k.name)
		}
	}
}

// What becomes of each key under a JVM version stands where people read it who go back to one.
func TestMigrationSaysWhatJVMsMakeOfEachKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range policyTable(t) {
		if want := "\n| " + row[0] + " | " + row[6] + " |\n"; !strings.Contains(string(text), want) {
			t.Errorf("docs/migration.md has no row %s", want)
		}
	}
}

// What decoding makes of values of the keys of ours.
func TestPolicyValues(t *testing.T) {
	t.Parallel()
	const inert = "inert"
	for member, want := range map[string]string{ // want is what is listed, inert, or the error
		`"retryDelay":"PT90S"`:                  `"retryDelay":"PT90S"`,
		`"retryDelay":90`:                       `"retryDelay":"PT90S"`,
		`"retryDelay":1.5`:                      `"retryDelay":"PT1.500S"`,
		`"retryDelay":0`:                        `"retryDelay":"PT0S"`,
		`"retryDelay":"soon"`:                   `retryDelay: parse period "soon": it must start with P`,
		`"retryDelay":"PT-5S"`:                  `retryDelay: 'PT-5S' is not between 0s and ten years`,
		`"retryDelay":-1`:                       `retryDelay: -1 seconds are not between 0 and ten years`,
		`"retryDelay":true`:                     inert,
		`"retryDelay":{"a":1}`:                  inert,
		`"retryDelay":null`:                     "",
		`"retryDelay":{}`:                       "",
		`"retryDelay":[]`:                       "",
		`"retryBackoff":2.5`:                    `"retryBackoff":2.5`,
		`"retryBackoff":"2"`:                    inert,
		`"retryBackoff":0.5`:                    "retryBackoff: 0.5 is not a number from 1 to 1000",
		`"labels":{"b":"2","a":"1"}`:            `"labels":{"a":"1","b":"2"}`,
		`"labels":{"a":"1","a":"2"}`:            `"labels":{"a":"2"}`,
		`"labels":{}`:                           "",
		`"labels":[{"key":"a","value":"b"}]`:    inert,
		`"labels":"team=data"`:                  inert,
		`"labels":{"a":1}`:                      "labels: the value of 'a' is not a text",
		`"labels":{"a=b":"1"}`:                  "labels: 'a=b' is no key of a label: it has 1 to 63 characters and no =",
		`"overlap":"skip"`:                      `"overlap":"skip"`,
		`"overlap":"allow","maxConcurrent":3`:   `"overlap":"allow","maxConcurrent":3`,
		`"overlap":"allow","concurrent":false`:  `"overlap":"allow"`,
		`"overlap":"Skip"`:                      "overlap: 'Skip' is not one of delay, skip, replace, queue, allow",
		`"overlap":"skip","concurrent":true`:    `concurrent: true contradicts "overlap":"skip"; leave one of them out, or write "overlap":"allow"`,
		`"overlap":true`:                        inert,
		`"maxConcurrent":3`:                     `maxConcurrent: it bounds how many runs go on at once, and is for jobs with "overlap":"allow"`,
		`"overlap":"allow","maxConcurrent":0`:   "maxConcurrent: 0 is not a whole number from 1 to 10000",
		`"overlap":"allow","maxConcurrent":1.5`: "maxConcurrent: 1.5 is not a whole number from 1 to 10000",
		`"maxConcurrent":"3"`:                   inert,
		`"pool":"db"`:                           `"pool":"db"`,
		`"pool":{"name":"db"}`:                  inert,
		`"pool":"a b"`:                          "pool: 'a b' is no name of a pool: 1 to 63 letters, digits, `.`, `_` or `-`",
		`"runOn":"end"`:                         `"runOn":"end"`,
		`"notify":[{"to":"mailto:a@b.c"},{"to":"https://hooks.example.com/x","on":["failed"]}]`: `"notify":[{"to":"mailto:a@b.c"},{"to":"https://hooks.example.com/x","on":["failed"]}]`,
		`"notify":"a@b.c"`:   inert,
		`"notify":["a@b.c"]`: `notify: '' is no receiver: want {"to":"mailto:ops@example.com"} or {"to":"https://host/path"}`,
		`"notify":[{"to":"http://hooks.example.com/x"}]`:  `notify: 'http://hooks.example.com/x' is no receiver: want {"to":"mailto:ops@example.com"} or {"to":"https://host/path"}`,
		`"notify":[{"to":"https://other.example.com/x"}]`: `notify: host "other.example.com" is not called by this server: --notify_hosts lists those that are`,
		`"notify":[{"to":"mailto:a@b.c","on":["all"]}]`:   "notify: 'all' is not one of failed, recovered, missed, late, slow, absent, disabled",
		`"missed":"none"`:  `"missed":"none"`,
		`"missed":["all"]`: inert,
		`"exclude":["2026-05-01","2026-12-24/2027-01-02","2026-12-24T18:00/PT12H"]`: `"exclude":["2026-05-01","2026-12-24/2027-01-02","2026-12-24T18:00/PT12H"]`,
		`"exclude":"2026-05-01"`:                 inert,
		`"exclude":[7]`:                          "exclude: '7' is not a text",
		`"exclude":["2026"]`:                     "exclude: '2026' is neither a date nor an ISO 8601 interval, like 2026-12-24/2027-01-02, that ends after its start",
		`"exclude":["2027-01-02/2026-12-24"]`:    "exclude: '2027-01-02/2026-12-24' is neither a date nor an ISO 8601 interval, like 2026-12-24/2027-01-02, that ends after its start",
		`"Labels":{"a":"1"}`:                     inert,
		`"maxCompletionTime":"PT2H","labels":{}`: "",
	} {
		doc := `{"name":"a","command":"x","schedule":"R1//PT1H",` + member + `}`
		j, err := decodeJob([]byte(doc), jobDefaults{NotifyHosts: []string{"hooks.example.com"}}, dialect2, nil)
		if err != nil {
			if err.Error() != want {
				t.Errorf("%s: %v; want %s", member, err, want)
			}
			continue
		}
		listed := strings.TrimPrefix(string(j.Policy.appendMembers(nil)), ",")
		if len(j.Extra) > 0 {
			listed = inert
			if warnings := slices.DeleteFunc(j.warnings(), func(w Warning) bool { return w.Key == "epsilon" }); len(warnings) != 1 || warnings[0].Key != j.Extra[0].Key {
				t.Errorf("%s: warnings are %q, want one for the key", member, warnings)
			}
		}
		if listed != want {
			t.Errorf("%s: %s, want %s", member, listed, want)
		}
	}
}

// A key that a job had before it meant anything means nothing for as long as it stays as it is.
func TestInertKeysStayInert(t *testing.T) {
	t.Parallel()
	const stored = `{"name":"a","command":"x","schedule":"R1//PT1H","labels":{"team":["a"]},"retryDelay":"soon"}`
	base, err := decodeStoredJob([]byte(stored), jobDefaults{})
	if err != nil || base.Policy != nil {
		t.Fatalf("a stored document: %v, policy %+v", err, base.Policy)
	}
	same := strings.Replace(stored, `{"team":["a"]}`, ` { "team" : ["a"] } `, 1)
	j, err := decodeJob([]byte(same), jobDefaults{}, dialect2, base)
	if err != nil || j.Policy != nil || len(j.Extra) != 2 || len(j.inertWarnings()) != 2 {
		t.Errorf("posted as it was: %v, %+v", err, j)
	}
	changed := strings.Replace(stored, `["a"]`, `"a"`, 1)
	if j, err = decodeJob([]byte(changed), jobDefaults{}, dialect2, base); err != nil || len(j.labels()) != 1 || len(j.Extra) != 1 {
		t.Errorf("posted with other labels: %v, %+v", err, j)
	}
	if _, err = decodeJob([]byte(stored), jobDefaults{}, dialect2, nil); err == nil {
		t.Error("a retryDelay that is none was accepted for a new job")
	}
}

// What this version cannot read of a policy is kept.
func TestStoredPolicyKeepsWhatIsUnknown(t *testing.T) {
	t.Parallel()
	const stored = `{"retryDelay":"PT1M","later":[1],"labels":7}`
	p := readPolicy([]byte(stored))
	if got := string(p.encode()); got != stored {
		t.Errorf("stored again as %s, want %s", got, stored)
	}
	if got := string(p.appendMembers(nil)); got != `,"retryDelay":"PT1M"` {
		t.Errorf("listed as %s", got)
	}
	if p := readPolicy([]byte(`{}`)); p != nil {
		t.Errorf("an empty record is a policy: %+v", p)
	}
}

func TestPauseBetweenAttempts(t *testing.T) {
	t.Parallel()
	for members, want := range map[string][]time.Duration{
		`"owner":"x"`:                           {time.Minute, time.Minute, time.Minute},
		`"retryDelay":10`:                       {10 * time.Second, 10 * time.Second, 10 * time.Second},
		`"retryDelay":0`:                        {0, 0, 0},
		`"retryBackoff":3`:                      {time.Minute, 3 * time.Minute, 9 * time.Minute},
		`"retryDelay":"PT10M","retryBackoff":4`: {10 * time.Minute, 40 * time.Minute, time.Hour},
		`"retryDelay":"PT2H","retryBackoff":2`:  {2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		`"retryDelayMax":"PT30S"`:               {30 * time.Second, 30 * time.Second, 30 * time.Second},
	} {
		j, err := decodeJob([]byte(`{"name":"a","command":"x","schedule":"R1//PT1H",`+members+`}`), jobDefaults{}, dialect2, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for attempt := 1; attempt <= 3; attempt++ {
			got = append(got, j.pauseBefore(attempt, time.Minute))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: pauses %v, want %v", members, got, want)
		}
	}
}

// A job as it is listed can be posted, and says the same in keys of ours, in each dialect and in the store.
func TestPolicyIsListedAsItIsPosted(t *testing.T) {
	t.Parallel()
	j, err := decodeJob([]byte(policyJob(t, "a")), jobDefaults{}, dialect2, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := string(j.Policy.encode())
	for _, d := range []dialect{dialect2, dialect3} {
		for _, base := range []*Job{nil, j} {
			again, err := decodeJob(j.appendListJSON(nil, d), jobDefaults{}, d, base)
			if err != nil || string(again.Policy.encode()) != want || again.Concurrent != j.Concurrent {
				t.Errorf("listed in dialect %d and posted it says %s, %v; want %s", d, again.Policy.encode(), err, want)
			}
		}
	}
	if got := string(readPolicy([]byte(want)).encode()); got != want {
		t.Errorf("stored it says %s, want %s", got, want)
	}
}
