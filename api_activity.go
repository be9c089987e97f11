package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// maxActs is how many acts one answer lists.
const maxActs = 200

// seesAct reports whether an act is shown. One on a job is shown to those who may read the job as it was before and after; what is
// about no single job, to those who see everything.
func seesAct(s sight, a *act) bool {
	if s.who == nil {
		return true
	}
	if a.Job == "" {
		return false
	}
	owners := a.Owners
	if len(owners) == 0 {
		owners = []string{""}
	}
	return !slices.ContainsFunc(owners, func(owner string) bool { return !s.who.may(readRole, &Job{Name: a.Job, Owner: owner}) })
}

// seenChildren are those children of a deleted job that are shown.
func seenChildren(s sight, a *act) map[string][]string {
	if s.whole() || a.Children == nil {
		return a.Children
	}
	shown := map[string][]string{}
	for name, parents := range a.Children {
		if s.job(name) != nil {
			shown[name] = slices.DeleteFunc(slices.Clone(parents), func(p string) bool { return p != a.Job && s.job(p) == nil })
		}
	}
	return shown
}

// An actFilter says which acts a call asks for.
type actFilter struct {
	job, user, request string
	actions            []string // none for all
	words              []string
	span               spanOf
	before             int64 // only those with a lower number; 0 for all
	limit              int
}

func readActFilter(c *call) (f actFilter, err error) {
	if f.limit, err = limitOf(c, "limit", 50, maxActs); err != nil {
		return f, err
	}
	if f.span, err = anySpan(c); err != nil {
		return f, err
	}
	f.job, f.user, f.request = c.query("job"), c.query("user"), c.query("request")
	f.words = strings.Fields(strings.ToLower(c.query("q")))
	if text := c.query("action"); text != "" {
		f.actions = strings.Split(text, ",")
	}
	if text := c.query("after"); text != "" {
		if f.before, err = strconv.ParseInt(text, 10, 64); err != nil || f.before < 1 {
			return f, refuse("after: %s is not what an answer has named as next", quoteWarned(text))
		}
	}
	return f, nil
}

func (f actFilter) takes(a shownAct) bool {
	r := a.record
	switch {
	case r.At < f.span.from || r.At >= f.span.to,
		f.job != "" && a.act.Job != f.job,
		f.user != "" && r.User != f.user,
		f.request != "" && r.Request != f.request,
		f.actions != nil && !slices.Contains(f.actions, a.act.Action):
		return false
	}
	text := strings.ToLower(a.act.Job + "\n" + r.User + "\n" + a.act.About)
	return !slices.ContainsFunc(f.words, func(w string) bool { return !strings.Contains(text, w) })
}

// An actDocument is an act as the API shows it.
type actDocument struct {
	Number int64  `json:"number"`
	At     string `json:"at"`
	Action string `json:"action"`
	Job    string `json:"job,omitempty"`
	About  string `json:"about,omitempty"`
	asker
	Request  string              `json:"request,omitempty"`
	Before   json.RawMessage     `json:"before,omitempty"`
	After    json.RawMessage     `json:"after,omitempty"`
	Cut      []string            `json:"cut,omitempty"`
	Children map[string][]string `json:"children,omitempty"`
}

// listActivity answers with who has changed what, the newest first.
func (a *api) listActivity(c *call) error {
	wanted, err := readActFilter(c)
	if err != nil {
		return err
	}
	sight, oldest := c.sight(), a.now().Add(-activityAge).UnixMilli()
	var found []shownAct
	for act := range sight.view.newestActs(wanted.before) {
		if act.record.At >= oldest && wanted.takes(act) && seesAct(sight, act.act) {
			if found = append(found, act); len(found) > wanted.limit {
				break
			}
		}
	}
	next := ""
	if len(found) > wanted.limit {
		found = found[:wanted.limit]
		next = strconv.FormatInt(found[wanted.limit-1].number, 10)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	b := c.long(typeJSON)
	b.WriteString(`{"activity":`)
	err = writeList(b, slices.Values(found), func(s shownAct) []byte {
		return encode(actDocument{s.number, msText(s.record.At), s.act.Action, s.act.Job, s.act.About, s.record.asker, s.record.Request,
			s.act.Before, s.act.After, s.act.Cut, seenChildren(sight, s.act)})
	})
	if err != nil {
		return nil
	}
	if next != "" {
		b.WriteString(`,"next":"` + next + `"`)
	}
	b.WriteByte('}')
	b.Flush()
	return nil
}
