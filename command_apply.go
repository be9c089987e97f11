package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// exitDifferent is the status of diff where something differs.
const exitDifferent = 2

// applyPatience is how long a request is repeated while the instance does not say what has become of it.
const applyPatience = 2 * time.Minute

// A setOptions is what diff and apply say of the set besides its jobs.
type setOptions struct {
	name        string
	take, prune bool
	asJSON      bool
}

func setFlags(fs *flag.FlagSet) *setOptions {
	o := &setOptions{}
	fs.StringVar(&o.name, "set", "default", "`name` of the set that the jobs belong to; each directory that is applied by itself needs one of its own")
	fs.BoolVar(&o.take, "take", false, "take jobs over that belong to another set")
	fs.BoolVar(&o.prune, "prune", false, "delete the jobs of the set that are in no file any more")
	fs.BoolVar(&o.asJSON, "json", false, "answer the plan as JSON")
	return o
}

// request is the document of a set with the jobs in files.
func (o *setOptions) request(paths []string) ([]byte, error) {
	jobs, err := readJobFiles(paths)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("there are no jobs in %s: files of jobs end in .yaml, .yml or .json", strings.Join(paths, ", "))
	}
	documents := make([]json.RawMessage, 0, len(jobs))
	for _, j := range jobs {
		documents = append(documents, j.document)
	}
	return encode(struct {
		Set   string            `json:"set"`
		Take  bool              `json:"take"`
		Prune bool              `json:"prune"`
		Jobs  []json.RawMessage `json:"jobs"`
	}{o.name, o.take, o.prune, documents}), nil
}

// plan reads the files of a command line, and asks what having the jobs so would change.
func (o *setOptions) plan(ctx context.Context, c *invocation) (body []byte, p setPlan, err error) {
	if body, err = o.request(c.args); err == nil {
		p, err = c.plan(ctx, body)
	}
	return body, p, err
}

// diffCommand says what apply would change.
func diffCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	o := setFlags(fs)
	return func(ctx context.Context, c *invocation) error {
		_, plan, err := o.plan(ctx, c)
		if err != nil {
			return err
		}
		if err := c.out.plan(plan, o.asJSON); err != nil {
			return err
		}
		if plan.differs() {
			return &exitError{status: exitDifferent}
		}
		return nil
	}
}

// applyCommand makes jobs as their files say.
func applyCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	o := setFlags(fs)
	dryRun := fs.Bool("dry-run", false, "show the plan, and change nothing")
	return func(ctx context.Context, c *invocation) error {
		body, plan, err := o.plan(ctx, c)
		if err != nil {
			return err
		}
		if !o.asJSON || *dryRun {
			if err := c.out.plan(plan, o.asJSON); err != nil {
				return err
			}
		}
		if *dryRun || len(plan.Changes) == 0 && !o.asJSON {
			return nil
		}
		done, err := c.apply(ctx, body)
		if err != nil {
			return err
		}
		if o.asJSON {
			return c.out.printJSON(done)
		}
		if !slices.EqualFunc(done.Changes, plan.Changes, sameChange) {
			fmt.Fprintln(c.out, "\nThe jobs have changed meanwhile. What was done:")
			return c.out.plan(done, false)
		}
		_, err = fmt.Fprintln(c.out, "Done, all at once.")
		return err
	}
}

func sameChange(a, b jobChange) bool {
	return a.Job == b.Job && a.Action == b.Action && slices.EqualFunc(a.Keys, b.Keys, func(a, b keyChange) bool { return a.Key == b.Key })
}

func (c *invocation) plan(ctx context.Context, body []byte) (p setPlan, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodPost, "/scheduler/apply/plan", bytes.NewReader(body))
	if err != nil {
		return p, unknownRoute(err)
	}
	defer res.Body.Close()
	return p, json.NewDecoder(res.Body).Decode(&p)
}

// unknownRoute says what a 404 of a path of ours means.
func unknownRoute(err error) error {
	if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusNotFound {
		return fmt.Errorf("%w: the instance, or the one that leads, is of a version that can't do this; upgrade it", err)
	}
	return err
}

// apply sends the request until it is known what has become of it. It has an id, and so is done once.
func (c *invocation) apply(ctx context.Context, body []byte) (p setPlan, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	id := rand.Text()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var res *http.Response
		if res, err = c.send(ctx, http.MethodPost, "/scheduler/apply", bytes.NewReader(body), requestIDHeader, id); err == nil {
			err = json.NewDecoder(res.Body).Decode(&p)
			res.Body.Close()
		}
		failed, answered := errors.AsType[*statusError](err)
		if err == nil || answered && failed.status != http.StatusBadGateway && failed.status != http.StatusServiceUnavailable && failed.status != http.StatusGatewayTimeout {
			return p, err
		}
		if !rest(ctx, pause) {
			return p, fmt.Errorf("it is not known whether the jobs were applied, all or none; look with chronos diff, or repeat the command: %w", err)
		}
	}
}

// plan shows what is to be changed.
func (o *screen) plan(p setPlan, asJSON bool) error {
	if asJSON {
		return o.printJSON(p)
	}
	count := map[string]int{}
	for _, c := range p.Changes {
		count[c.Action]++
		if c.Action == "own" {
			continue
		}
		mark := map[string]cell{"create": {"+ create", green}, "change": {"~ change", yellow}, "delete": {"- delete", red}}[c.Action]
		fmt.Fprintf(o, "%s  %s\n", o.paint(mark), c.Job)
		for _, k := range c.Keys {
			switch {
			case k.Old == nil && k.New == nil:
				fmt.Fprintf(o, "            %s\n", k.Key)
			default:
				fmt.Fprintf(o, "            %s: %s -> %s\n", k.Key, cmp.Or(string(k.Old), "nothing"), cmp.Or(string(k.New), "nothing"))
			}
		}
		for _, w := range c.Warnings {
			fmt.Fprintf(o, "            strange: %s\n", w)
		}
	}
	if n := count["own"]; n > 0 {
		fmt.Fprintf(o, "%d more %s set %q, and otherwise as the files say.\n", n, plural(n, "job is not yet of", "jobs are not yet of"), p.Set)
	}
	_, err := fmt.Fprintf(o, "%d to create, %d to change, %d to delete, %d as the files say.\n", count["create"], count["change"], count["delete"], p.Unchanged+count["own"])
	return err
}

// exportCommand writes the jobs of an instance into files.
func exportCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	set := fs.String("set", "", "only jobs of the set of this `name`")
	form := fs.String("o", "yaml", "`form` of the files: yaml or json")
	return func(ctx context.Context, c *invocation) error {
		if *form != "yaml" && *form != "json" {
			return fmt.Errorf("-o %q: want yaml or json", *form)
		}
		path := "/scheduler/export"
		if *set != "" {
			path += "?set=" + url.QueryEscape(*set)
		}
		text, err := c.read(ctx, path)
		if err != nil {
			return unknownRoute(err)
		}
		root, err := parseValue(text)
		if err != nil {
			return fmt.Errorf("GET %s: %s does not answer as chronos does: %w", path, c.url, err)
		}
		files, err := exportFiles(root, *form)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(c.args[0], 0o777); err != nil { // also of no jobs
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := writeExport(filepath.Join(c.args[0], name), files[name]); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.out, "%d %s written below %s\n", len(files), plural(len(files), "job", "jobs"), c.args[0])
		return nameOthers(c.out, c.args[0], files)
	}
}

// exportFiles returns the content of each file, in the layout of chronos-sync.rb.
func exportFiles(jobs value, form string) (map[string][]byte, error) {
	documents := jobs.elements()
	nameOf := func(v value) string { return v.object().get("name").text() }
	sortStable(documents, func(a, b value) int { return strings.Compare(nameOf(a), nameOf(b)) })
	files := map[string][]byte{}
	taken := map[string]bool{}
	for _, d := range documents {
		dir := "scheduled"
		if d.object().get("parents") != "" {
			dir = "dependent"
		}
		base := filepath.Join(dir, fileName(nameOf(d)))
		name := base
		for n := 2; taken[strings.ToLower(name)]; n++ { // where case makes no difference to the file system, too
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[strings.ToLower(name)] = true
		var content bytes.Buffer
		var err error
		if form == "json" {
			err = json.Indent(&content, []byte(d), "", "  ")
			content.WriteByte('\n')
		} else {
			var text []byte
			text, err = yamlOf([]byte(d))
			content.Write(text)
		}
		if err != nil {
			return nil, fmt.Errorf("write job %q: %w", nameOf(d), err)
		}
		files[name+"."+form] = content.Bytes()
	}
	return files, nil
}

func writeExport(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o666)
}

// nameOthers names files of jobs that were there before, and that the export has not written: perhaps those of jobs that are gone.
func nameOthers(w io.Writer, dir string, files map[string][]byte) error {
	all, err := jobFiles([]string{dir})
	if err != nil {
		return err
	}
	for _, path := range all {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, written := files[name]; !written {
			fmt.Fprintf(w, "left as it was: %s\n", path)
		}
	}
	return nil
}

// validateCommand checks files without a server.
func validateCommand(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(_ context.Context, c *invocation) error {
		jobs, err := readJobFiles(c.args)
		if err != nil {
			return err
		}
		documents := map[string]*Job{}
		var faults []error
		for _, f := range jobs {
			j, err := f.check(time.Now())
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: job %q: %w", f.file, f.name, err))
				continue
			}
			documents[f.name] = j
			for _, w := range j.warnings() {
				fmt.Fprintf(c.out, "%s: job %q: strange: %s\n", f.file, f.name, w)
			}
		}
		if len(faults) == 0 {
			faults = checkParentsIn(jobs, documents)
		}
		if len(faults) > 0 {
			return errors.Join(faults...)
		}
		_, err = fmt.Fprintf(c.out, "%d %s sound\n", len(jobs), plural(len(jobs), "job is", "jobs are"))
		return err
	}
}

// check reads the document as an instance without options does.
func (f *fileJob) check(now time.Time) (*Job, error) {
	defaults := jobDefaults{CPUs: 0.1, Mem: 128, Disk: 256, Epsilon: Period{Seconds: 60}, User: "root", patterns: newPatterns(), AnyHost: true}
	j, err := decodeJob(f.document, defaults, dialect2, nil)
	if err != nil {
		return nil, err
	}
	j.Misread = j.misread(f.document)
	return j, j.check(true, now)
}

// checkParentsIn finds parents that are in no file, and cycles.
func checkParentsIn(jobs []fileJob, documents map[string]*Job) (faults []error) {
	g := newGraph()
	exists := func(name string) bool { return documents[name] != nil }
	for _, f := range jobs {
		j := documents[f.name]
		if !j.Dependent {
			continue
		}
		if err := g.check(j.Name, j.Parents, exists); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.file, err))
			continue
		}
		g.link(j.Name, j.Parents)
	}
	return faults
}
