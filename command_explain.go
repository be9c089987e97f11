package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// explainCommand shows when a schedule would be due, without an instance.
func explainCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	zone := fs.String("zone", "", "time `zone` of the schedule, such as Europe/Berlin; default: as in the schedule, else UTC for cron")
	name := fs.String("name", "", "`name` of the job, which decides what an H in the schedule stands for")
	count := fs.Int("count", defaultPreview, "`number` of instants")
	epsilon := fs.Duration("epsilon", time.Minute, "how old an occurrence may be that still runs")
	asJSON := fs.Bool("json", false, "answer as JSON")
	return func(_ context.Context, c *invocation) error {
		if err := checkCount(int64(*count)); err != nil {
			return err
		}
		j := &Job{Name: *name, Schedule: c.args[0], ScheduleTimeZone: *zone, Epsilon: Period{Seconds: int32(*epsilon / time.Second)}}
		if spreads(j.Schedule) && j.Name == "" {
			return errors.New("what an H in the schedule stands for follows from the name of the job: give --name")
		}
		now := time.Now()
		p, err := foretell(j, now, *count)
		if refused, ok := errors.AsType[*httpError](err); ok {
			return errors.New(refused.text) // without its status, which nobody has sent
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return c.out.printJSON(p)
		}
		if len(p.Upcoming) == 0 {
			fmt.Fprintln(c.out, "It is not due any more.")
			return nil
		}
		return c.out.occurrenceTable(p.Upcoming, now)
	}
}

// topPace is how often the screen is drawn anew.
const topPace = 2 * time.Second

// topCommand shows what runs and waits until it is stopped.
func topCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	once := fs.Bool("once", false, "show it once and end, as when the output is no terminal")
	return func(ctx context.Context, c *invocation) error {
		for {
			o, err := c.overview(ctx)
			if err != nil {
				return err
			}
			if c.out.live && !*once {
				fmt.Fprint(c.out, "\x1b[H\x1b[2J")
			}
			fmt.Fprintf(c.out, "%s  leader %s  %s  %d jobs  %d running  %d queued\n\n",
				hereTime(o.Time), o.Leader, o.Cluster, len(o.Jobs), o.Running, o.Queued)
			if err := c.out.jobTable(busiest(o.Jobs, topRows), o.Time); err != nil {
				return err
			}
			if !c.out.live || *once || !rest(ctx, topPace) {
				return nil
			}
		}
	}
}

// topRows is how many jobs top shows.
const topRows = 30

// busiest returns the jobs that run or wait, and after them those that are due next.
func busiest(jobs []jobRow, most int) []jobRow {
	rank := func(j jobRow) int64 {
		switch {
		case j.Running > 0:
			return -2
		case j.State == "queued":
			return -1
		case j.Disabled || j.Next == 0:
			return 1 << 62
		}
		return j.Next
	}
	sortStable(jobs, func(a, b jobRow) int {
		switch x, y := rank(a), rank(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return jobs[:min(len(jobs), most)]
}

// completionCommand writes a script that completes subcommands, their options, and the names of jobs.
func completionCommand(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(_ context.Context, c *invocation) error {
		write := map[string]func(io.Writer){"bash": completeBash, "zsh": completeZsh, "fish": completeFish}[c.args[0]]
		if write == nil {
			return fmt.Errorf("completion for %q: want bash, zsh or fish", c.args[0])
		}
		write(c.out)
		return nil
	}
}

// optionsOf lists the options of a subcommand; none of those that read their command line in another way.
func (c *command) optionsOf() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	if c.define != nil {
		c.define(fs)
		if !c.alone {
			remoteFlags(fs, func(string) string { return "" })
		}
	}
	return fs
}

func (c *command) optionWords() (words []string) {
	c.optionsOf().VisitAll(func(f *flag.Flag) { words = append(words, asTyped(f)) })
	return words
}

func asTyped(f *flag.Flag) string {
	if len(f.Name) == 1 {
		return "-" + f.Name
	}
	return "--" + f.Name
}

// takesJobs reports whether the arguments are names of jobs.
func (c *command) takesJobs() bool { return strings.Contains(c.arguments, "NAME") }

func commandWords() (words []string) {
	for _, c := range commandTable() {
		words = append(words, c.name)
	}
	return words
}

func completeBash(w io.Writer) {
	fmt.Fprint(w, "_chronos() {\n\tlocal word=${COMP_WORDS[COMP_CWORD]} words=\n\tif [ \"$COMP_CWORD\" = 1 ]; then\n")
	fmt.Fprintf(w, "\t\twords=%q\n\telse\n\t\tcase ${COMP_WORDS[1]} in\n", strings.Join(commandWords(), " "))
	for _, c := range commandTable() {
		words := strings.Join(c.optionWords(), " ")
		if c.takesJobs() {
			words += " $(chronos jobs -o name 2>/dev/null)"
		}
		fmt.Fprintf(w, "\t\t%s) words=\"%s\" ;;\n", c.name, words)
	}
	fmt.Fprint(w, "\t\tesac\n\tfi\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -o default -F _chronos chronos\n")
}

func completeZsh(w io.Writer) {
	fmt.Fprint(w, "#compdef chronos\n_chronos() {\n\tlocal -a words\n\tif (( CURRENT == 2 )); then\n\t\twords=(\n")
	for _, c := range commandTable() {
		fmt.Fprintf(w, "\t\t\t'%s:%s'\n", c.name, strings.ReplaceAll(c.summary, "'", ""))
	}
	fmt.Fprint(w, "\t\t)\n\t\t_describe command words\n\t\treturn\n\tfi\n\tcase $words[2] in esac\n\tcase ${(Q)${(z)BUFFER}[2]} in\n")
	for _, c := range commandTable() {
		fmt.Fprintf(w, "\t%s) compadd -- %s", c.name, strings.Join(c.optionWords(), " "))
		if c.takesJobs() {
			fmt.Fprint(w, " ${(f)\"$(chronos jobs -o name 2>/dev/null)\"}")
		}
		fmt.Fprintln(w, " ;;")
	}
	fmt.Fprint(w, "\tesac\n}\ncompdef _chronos chronos\n")
}

func completeFish(w io.Writer) {
	fmt.Fprintln(w, "complete -c chronos -f")
	for _, c := range commandTable() {
		fmt.Fprintf(w, "complete -c chronos -n __fish_use_subcommand -a %s -d '%s'\n", c.name, strings.ReplaceAll(c.summary, "'", ""))
		within := "'__fish_seen_subcommand_from " + c.name + "'"
		c.optionsOf().VisitAll(func(f *flag.Flag) {
			_, usage := flag.UnquoteUsage(f)
			form := "-l"
			if len(f.Name) == 1 {
				form = "-s"
			}
			fmt.Fprintf(w, "complete -c chronos -n %s %s %s -d '%s'\n", within, form, f.Name, strings.ReplaceAll(usage, "'", ""))
		})
		if c.takesJobs() {
			fmt.Fprintf(w, "complete -c chronos -n %s -a '(chronos jobs -o name 2>/dev/null)'\n", within)
		}
	}
}

// manCommand writes the manual page, from the tables that help is made of.
func manCommand(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(_ context.Context, c *invocation) error {
		w := c.out
		fmt.Fprintf(w, ".TH CHRONOS 1 \"\" %q\n.SH NAME\nchronos \\- a distributed cron for Apache Mesos, or for one machine\n", "chronos "+version)
		fmt.Fprint(w, ".SH SYNOPSIS\n.B chronos\n[\\fIoptions\\fR]\n.br\n.B chronos\n\\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n")
		fmt.Fprint(w, ".SH DESCRIPTION\nWithout a command it is the server. A first word that is no option is a command.\n.SH COMMANDS\n")
		for _, sub := range commandTable() {
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(sub.usage()), roff(sentence(sub.summary)))
			sub.optionsOf().VisitAll(func(f *flag.Flag) {
				value, usage := flag.UnquoteUsage(f)
				fmt.Fprintf(w, ".RS\n.TP\n.B %s\n%s\n.RE\n", roff(strings.TrimSpace(asTyped(f)+" "+value)), roff(usage))
			})
		}
		fmt.Fprint(w, ".SH OPTIONS OF THE SERVER\n")
		for _, o := range new(flags).optionTable() {
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace("--"+o.name+" "+o.arg)), roff(o.help))
		}
		fmt.Fprintf(w, ".SH EXIT STATUS\n0 for success and 1 for failure. \\fBrun --wait\\fR ends with the run's own exit status, %d if it was killed, %d if it failed without one, %d if nothing is known of it.\n",
			exitKilled, exitNoStatus, exitNoServer)
		return nil
	}
}

// roff escapes what the manual page's language would take for its own.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}
