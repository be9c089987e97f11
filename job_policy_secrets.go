package main

import (
	"fmt"
	"slices"
)

// A SecretVar is a variable of a job whose value is read when a run is launched. It stands among the job's environmentVariables
// everywhere but in what JVM versions read: they can't decode a variable without a value, and with it the job.
type SecretVar struct {
	Name   string
	Secret string // its name
}

// secretKind is what a variable that is a secret looks like, for people.
const secretKind = "list as ever, in which a variable may have the name of a `secret` in the place of a `value`; at most 100 of those"

const (
	maxSecretVars = 100
	// secretIndex is the name of the file that says which jobs may use which secrets, and so the name of none.
	secretIndex = "index"
	// secretsMember is the member of a stored policy that holds them, as in a job's document.
	secretsMember = "environmentVariables"
)

// validSecret reports whether a text may be the name of a secret.
func validSecret(name string) bool { return validPool(name) && name != secretIndex }

// secretNames says what names of secrets are like, for people.
const secretNames = poolNames + ", and not " + secretIndex

// secretVar reads a variable without a value. ok is false if it names no secret either.
func (d *jobDecoder) secretVar(o object, at docPath) (v SecretVar, ok bool) {
	secret := o.get("secret")
	if d.from == dialectStored || o.get("value") != "" || !secret.isString() {
		return SecretVar{}, false
	}
	v = SecretVar{d.need(o, "name", at).text(), secret.text()}
	switch {
	case !validSecret(v.Secret):
		d.fail(at, "%s is no name of a secret: %s", quoteWarned(v.Secret), secretNames)
	case v.Name == "":
		d.fail(at, "a variable needs a name")
	}
	return v, true
}

// withSecrets adds variables to what a job says in keys of ours.
func (d *jobDecoder) withSecrets(p *Policy, vars []SecretVar) *Policy {
	if len(vars) == 0 {
		return p
	}
	if len(vars) > maxSecretVars {
		d.fail(docPath{secretsMember, -1}, "there are %d secrets, and at most %d may be", len(vars), maxSecretVars)
	}
	if p == nil {
		p = &Policy{}
	}
	p.Secrets = vars
	return p
}

// readSecretVars reads what appendSecretVars has stored.
func readSecretVars(list value) []SecretVar {
	var vars []SecretVar
	for _, e := range list.elements() {
		o := e.object()
		if v := (SecretVar{o.get("name").text(), o.get("secret").text()}); v.Name != "" && validSecret(v.Secret) {
			vars = append(vars, v)
		}
	}
	return vars
}

func appendSecretVar(dst []byte, v SecretVar) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, v.Name)
	return append(appendText(dst, "secret", v.Secret), '}')
}

// appendEnvironment appends the job's variables, in the store only those with a value.
func (j *Job) appendEnvironment(dst []byte, d dialect) []byte {
	if d == dialectStored || len(j.secrets()) == 0 {
		return appendList(dst, secretsMember, j.Env, appendEnvVar)
	}
	var all []string
	for _, v := range j.Env {
		all = append(all, string(appendEnvVar(nil, v)))
	}
	for _, v := range j.secrets() {
		all = append(all, string(appendSecretVar(nil, v)))
	}
	return appendList(dst, secretsMember, all, func(dst []byte, member string) []byte { return append(dst, member...) })
}

// secrets are the variables whose values are read at the launch.
func (j *Job) secrets() []SecretVar {
	if j.Policy == nil {
		return nil
	}
	return j.Policy.Secrets
}

// secretWarnings returns what is strange about the variables whose values are secrets.
func (j *Job) secretWarnings() []Warning {
	var all []Warning
	for _, v := range j.secrets() {
		if slices.ContainsFunc(j.Env, func(e EnvVar) bool { return e.Name == v.Name }) {
			all = append(all, Warning{secretsMember, fmt.Sprintf("%s has a value and is the secret %s too, which counts; leave one of them out", quoteWarned(v.Name), v.Secret)})
		}
	}
	return all
}

// plainVariables returns a posted list without the elements that name secrets, which are not in the stored one.
func plainVariables(list value) value {
	if list == "" || list[0] != '[' {
		return list
	}
	plain := []byte{'['}
	for _, e := range list.elements() {
		if o := e.object(); o.get("value") == "" && o.get("secret").isString() {
			continue
		}
		if len(plain) > 1 {
			plain = append(plain, ',')
		}
		plain = append(plain, e...)
	}
	return value(append(plain, ']'))
}
