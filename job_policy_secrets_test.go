package main

import (
	"slices"
	"strings"
	"testing"
)

// What decoding makes of variables without a value.
func TestSecretsInJobDocuments(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{ // want is what is listed, or the error
		`[{"name":"DB","secret":"db-password"}]`:                          `[{"name":"DB","secret":"db-password"}]`,
		`[{"name":"DB","secret":"db-password"},{"name":"A","value":"1"}]`: `[{"name":"A","value":"1"},{"name":"DB","secret":"db-password"}]`,
		`[{"name":"DB","value":null,"secret":"a.b_c-1"}]`:                 `[{"name":"DB","secret":"a.b_c-1"}]`,
		`[{"name":"A","value":"","secret":"x"}]`:                          `[{"name":"A","value":""}]`, // as in the original
		`[{"name":"A","secret":7}]`:                                       `environmentVariables[0]: key "value" is missing`,
		`[{"name":"A"}]`:                                                  `environmentVariables[0]: key "value" is missing`,
		`[{"secret":"x"}]`:                                                `environmentVariables[0]: key "name" is missing`,
		`[{"name":"A","secret":"../x"}]`:                                  "environmentVariables[0]: '../x' is no name of a secret: " + secretNames,
		`[{"name":"A","secret":".."}]`:                                    "environmentVariables[0]: '..' is no name of a secret: " + secretNames,
		`[{"name":"A","secret":"index"}]`:                                 "environmentVariables[0]: 'index' is no name of a secret: " + secretNames,
		`[{"name":"A","secret":"a b"}]`:                                   "environmentVariables[0]: 'a b' is no name of a secret: " + secretNames,
		`[` + strings.Repeat(`{"name":"A","secret":"x"},`, 100) + `{"name":"A","secret":"x"}]`: "environmentVariables: there are 101 secrets, and at most 100 may be",
	} {
		j, err := decodeJob([]byte(`{"name":"a","command":"x","schedule":"R1//PT1H","environmentVariables":`+list+`}`), jobDefaults{}, dialect2, nil)
		if err != nil {
			if err.Error() != want {
				t.Errorf("%s: %v; want %s", list, err, want)
			}
			continue
		}
		for _, d := range []dialect{dialect2, dialect3} {
			if listed := string(j.appendListJSON(nil, d)); !strings.Contains(listed, `"environmentVariables":`+want+`,`) {
				t.Errorf("%s is listed as %s, want %s", list, listed, want)
			}
		}
		if stored := string(j.appendJSON(nil, dialectStored)); strings.Contains(stored, "secret") {
			t.Errorf("%s: a secret is in the document that JVM versions read: %s", list, stored)
		}
		if len(j.secrets()) > 0 {
			if again := readPolicy(j.Policy.encode()); !slices.Equal(again.Secrets, j.secrets()) {
				t.Errorf("%s: stored as %s, read as %v", list, j.Policy.encode(), again)
			}
			if w := j.misread([]byte(`{"name":"a","environmentVariables":` + list + `}`)); len(w) > 0 {
				t.Errorf("%s: warned of %v", list, w)
			}
		}
	}
}

// What the original has stored means what it meant: it knew no variable without a value.
func TestStoredDocumentsNameNoSecrets(t *testing.T) {
	t.Parallel()
	j, err := decodeStoredJob([]byte(`{"name":"a","environmentVariables":[{"name":"DB","secret":"x"}]}`), jobDefaults{})
	if err != nil || j.Policy != nil || !slices.Equal(j.Env, []EnvVar{{"DB", ""}}) {
		t.Errorf("read as %+v, policy %+v, %v", j.Env, j.Policy, err)
	}
}

// Of a variable that is given in both ways the secret counts, and that is told.
func TestVariableThatIsAValueAndASecret(t *testing.T) {
	t.Parallel()
	j, err := decodeJob([]byte(`{"name":"a","command":"x","schedule":"R1//PT1H","environmentVariables":[{"name":"DB","value":"v"},{"name":"DB","secret":"x"}]}`), jobDefaults{}, dialect2, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "environmentVariables: 'DB' has a value and is the secret x too, which counts; leave one of them out"
	if w := j.secretWarnings(); len(w) != 1 || w[0].String() != want {
		t.Errorf("warnings %v, want %s", w, want)
	}
	r := &Run{ID: runID(0, 0, "a", ""), Job: "a"}
	vars := secretVariables(taskInfo(j, r, placement{}))
	if len(vars) != 1 || vars[0].Name != "DB" || vars[0].Value != nil || vars[0].Secret.GetReference().GetName() != "x" {
		t.Errorf("the task has the secrets %v", vars)
	}
	r.Env = []EnvVar{{"DB", "of this run"}}
	if vars := secretVariables(taskInfo(j, r, placement{})); len(vars) != 0 {
		t.Errorf("a run with a value of its own has the secrets %v", vars)
	}
}
