package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Warning is something strange about a document that is accepted anyway, because the original accepted it: it must remain
// possible to post jobs from version control and listings. It says what is wrong, what happens instead, and the nearest valid value.
type Warning struct {
	Key  string `json:"key"` // like container.volumes[0].mode
	Text string `json:"text"`
}

func (w Warning) String() string { return w.Key + ": " + w.Text }

// warnings returns what is strange about the job, beginning with its document.
func (j *Job) warnings() []Warning {
	all := slices.Concat(j.Misread, j.scheduleWarnings(), j.numberWarnings())
	if j.runsNothing() {
		all = append(all, Warning{"command", "there is nothing to run without a command, a container image or an executor: a run fails on Mesos and does nothing in local mode; give a command"})
	}
	all = append(all, j.inertWarnings()...)
	all = append(all, j.secretWarnings()...)
	for _, f := range j.Extra {
		if key := jobKeyLike(f.Key); key != "" {
			all = append(all, Warning{cutText(f.Key, maxWarned, "..."), "there is no such key, so it is kept but ignored; the nearest is " + key})
		}
	}
	return all
}

// scheduleWarnings returns what is strange about when the job runs.
func (j *Job) scheduleWarnings() []Warning {
	if j.Dependent {
		return nil
	}
	var all []Warning
	if zone := j.ScheduleTimeZone; zone != "" {
		if _, known := loadZone(zone); !known {
			nearest := "names are those of the time zone database, like Europe/Berlin"
			if name := nearestZone(zone); name != "" {
				nearest = "the nearest is " + name
			}
			all = append(all, Warning{"scheduleTimeZone", "there is no time zone " + quoteWarned(zone) + ", so UTC is used instead, as in Java; " + nearest})
		}
	}
	if j.Epsilon.approx() < minEpsilon {
		all = append(all, Warning{"epsilon", fmt.Sprintf("%s is less than a second, which is used instead, so that an occurrence on time runs; write PT1S", j.Epsilon)})
	}
	return all
}

// numberWarnings returns what is strange about the job's numbers.
func (j *Job) numberWarnings() []Warning {
	var all []Warning
	for _, s := range j.sizes() {
		if s.value < 0 {
			all = append(all, Warning{s.key, javaDouble(s.value) + " is below 0, so the default is used instead; write 0 for that"})
		}
	}
	if j.Retries < 0 {
		all = append(all, Warning{"retries", fmt.Sprintf("%d is below 0, so a run that fails is not retried, as with 0; write 0", j.Retries)})
	}
	if j.MaxCompletionTime < 0 {
		all = append(all, Warning{"maxCompletionTime", fmt.Sprintf("%d is below 0, so there is no limit, as with 0; write 0", j.MaxCompletionTime)})
	}
	return all
}

// runsNothing reports whether there is neither a command nor anything that runs without one.
func (j *Job) runsNothing() bool {
	arguments := j.Shell && strings.TrimSpace(strings.Join(j.Arguments, "")) != ""
	return strings.TrimSpace(j.Command) == "" && !arguments && j.Executor == "" && (j.Container == nil || j.Container.Image == "")
}

// maxWarned bounds what a warning quotes from a document, in bytes.
const maxWarned = 60

// quoteWarned quotes a text of a document for a warning, on one line.
func quoteWarned(text string) string {
	if len(text) > 1 && text[0] == '"' {
		text = value(text).text()
	}
	return "'" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, cutText(text, maxWarned, "...")) + "'"
}

// jobKeyLike returns the key of a job that differs from this one only by case, "" for none.
func jobKeyLike(key string) string {
	for known := range jobKeys {
		if key != known && strings.EqualFold(key, known) {
			return known
		}
	}
	for _, ours := range policyKeys {
		if key != ours.name && strings.EqualFold(key, ours.name) {
			return ours.name
		}
	}
	return ""
}

// misread returns what a posted document says and the resulting job does not: 1.5 retries, a flag that is "yes", a text in
// place of a list. The JVM versions' conversions never fail, so such values are found by comparing the document with the stored one.
func (j *Job) misread(posted []byte) []Warning {
	root, err := parseValue(posted)
	if err != nil {
		return nil
	}
	doc, stored := root.object(), value(j.appendJSON(nil, dialectStored)).object()
	c := misreading{}
	for _, m := range doc.unique() {
		said := doc.get(m.key)
		switch {
		case said == "" || !isJobKey(m.key):
		case m.key == "uris" && doc.get("fetch") != "", m.key == "fetch" && doc.get("uris") != "":
			// A listing shows each as the other, and is posted back that way.
		case j.Dependent && (m.key == "schedule" || m.key == "scheduleTimeZone"):
			if said.text() != "" {
				c.add(m.key, "the job has parents and runs after them instead; leave it out")
			}
		case m.key == "epsilon" && samePeriod(said, stored.get(m.key)):
		case m.key == "maxCompletionTime" && said.isString() && startsFold(said.text(), 'p'): // a duration, stored in seconds
		case m.key == secretsMember:
			c.compare(m.key, plainVariables(said), stored.get(m.key), nil)
		case m.key == "parents":
			c.compare(m.key, said, stored.get(m.key), uniqueTexts(texts(said)))
		default:
			c.compare(m.key, said, stored.get(m.key), nil)
		}
	}
	return c.found
}

func samePeriod(a, b value) bool {
	p, err1 := parsePeriod(a.text())
	q, err2 := parsePeriod(b.text())
	return err1 == nil && err2 == nil && p == q
}

// A misreading collects the differences between what was said and what is stored.
type misreading struct{ found []Warning }

func (c *misreading) add(key, text string) { c.found = append(c.found, Warning{key, text}) }

// differs records that what was said at a key is read as something else.
func (c *misreading) differs(key string, said, stored value) {
	if stored == "" {
		c.add(key, quoteWarned(string(said))+" means nothing there and is dropped; leave it out")
		return
	}
	read := cutText(string(stored), maxWarned, "...")
	c.add(key, fmt.Sprintf("%s is read as %s; write %s", quoteWarned(string(said)), read, read))
}

// compare looks for differences between what was said at a key and what is stored there. elements, if not nil, are the
// texts that a list is read as.
func (c *misreading) compare(key string, said, stored value, elements []string) {
	switch {
	case said == "null" || saysNothing(said) && (stored == "" || saysNothing(stored)):
	case stored == "":
		c.differs(key, said, stored)
	case stored[0] == '{':
		c.compareObjects(key, said, stored)
	case stored[0] == '[':
		c.compareLists(key, said, stored, elements)
	case !sameScalar(said, stored):
		c.differs(key, said, stored)
	}
}

// saysNothing reports whether a value means the same as leaving the key out: an empty text, list or object, or false.
func saysNothing(v value) bool {
	switch v {
	case `""`, "false", "null":
		return true
	}
	return (v[0] == '[' || v[0] == '{') && len(v.elements()) == 0
}

func (c *misreading) compareObjects(key string, said, stored value) {
	if said[0] != '{' {
		c.differs(key, said, stored)
		return
	}
	doc, kept := said.object().unique(), stored.object()
	for _, m := range doc {
		c.compare(key+"."+m.key, m.value, kept.get(m.key), nil)
	}
}

// compareLists compares the elements of lists. In place of a list there may be an object, which stands for its values, or null.
func (c *misreading) compareLists(key string, said, stored value, elements []string) {
	if said[0] != '[' && said[0] != '{' {
		c.differs(key, said, stored)
		return
	}
	given := slices.DeleteFunc(said.elements(), func(v value) bool { return v == "null" })
	kept := stored.elements()
	if elements != nil && len(elements) == len(kept) {
		return // the missing elements are reported already
	}
	if len(given) != len(kept) {
		c.differs(key, said, stored)
		return
	}
	for i, v := range given {
		c.compare(fmt.Sprintf("%s[%d]", key, i), v, kept[i], nil)
	}
}

// sameScalar reports whether a scalar says what is stored: the same number, text or truth, as whatever kind of value.
func sameScalar(said, stored value) bool {
	if said[0] == '{' || said[0] == '[' {
		return false
	}
	text := javaTrim(said.text())
	switch {
	case stored == "true" || stored == "false":
		return strings.EqualFold(text, string(stored)) || stored == "true" && text == "1" || stored == "false" && text == "0"
	case stored.isString():
		kept := javaTrim(stored.text())
		return strings.EqualFold(text, kept) || said.isNumber() && parseJavaDouble(text) == parseJavaDouble(kept)
	}
	if strings.Trim(text, "+-0123456789.eE") != "" || text == "" {
		return strings.ContainsAny(text, "fFdD") && parseJavaDouble(text) == stored.double() && parseJavaDouble(text) != 0
	}
	number := parseJavaDouble(text)
	return number == 0 || number == stored.double() && !math.IsInf(number, 0) // 0 is each key's default
}
