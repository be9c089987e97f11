package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The types below are the flag.Values of the option table. When Set returns an error, the
// option is unchanged, and the error says what would be valid.

// textValue is any text that check accepts, as check returns it.
type textValue struct {
	p     *string
	check func(string) (string, error) // nil accepts everything
}

func (v textValue) Set(s string) error {
	if v.check == nil {
		*v.p = s
		return nil
	}
	s, err := v.check(s)
	if err == nil {
		*v.p = s
	}
	return err
}

func (v textValue) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// boolValue is an option whose presence means true, or false if inverted.
type boolValue struct {
	p        *bool
	inverted bool
}

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	*v.p = b != v.inverted
	return nil
}

func (v boolValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatBool(*v.p != v.inverted)
}

func (v boolValue) IsBoolFlag() bool { return true }

// parseInteger reads a decimal in the range. what names the thing counted.
func parseInteger(s, what string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a whole number%s from %d to %d", what, low, high)
	}
	return n, nil
}

// intValue is a 32-bit number, as the JVM's Int.
type intValue struct {
	p         *int
	low, high int64
}

func (v intValue) Set(s string) error {
	n, err := parseInteger(s, "", v.low, v.high)
	if err == nil {
		*v.p = int(n)
	}
	return err
}

func (v intValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.Itoa(*v.p)
}

// longValue is a 64-bit number, as the JVM's Long.
type longValue struct{ p *int64 }

func (v longValue) Set(s string) error {
	n, err := parseInteger(s, "", math.MinInt64, math.MaxInt64)
	if err == nil {
		*v.p = n
	}
	return err
}

func (v longValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatInt(*v.p, 10)
}

// offsetValue is an offset in a file, negative while none is given.
type offsetValue struct{ p *int64 }

func (v offsetValue) Set(s string) error {
	n, err := parseInteger(s, "", 0, math.MaxInt64)
	if err == nil {
		*v.p = n
	}
	return err
}

func (v offsetValue) String() string {
	if v.p == nil || *v.p < 0 {
		return ""
	}
	return strconv.FormatInt(*v.p, 10)
}

// spanValue is a duration written as a bare number of units, which differ
// from option to option as they did in the JVM versions.
type spanValue struct {
	p    *time.Duration
	unit time.Duration
	bits int
	low  int64
}

func (v spanValue) Set(s string) error {
	what := " of milliseconds, without a unit,"
	if v.unit == time.Second {
		what = " of seconds, without a unit,"
	}
	high := min(math.MaxInt64/int64(v.unit), 1<<(v.bits-1)-1)
	n, err := parseInteger(s, what, v.low, high)
	if err == nil {
		*v.p = time.Duration(n) * v.unit
	}
	return err
}

func (v spanValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatInt(int64(*v.p/v.unit), 10)
}

// durationValue is a duration with its unit, for our own options.
type durationValue struct{ p *time.Duration }

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a duration above zero with its unit, like 90s, 10m or 1h30m")
	}
	*v.p = d
	return nil
}

func (v durationValue) String() string {
	if v.p == nil {
		return ""
	}
	s := v.p.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// doubleSyntax is what Double.parseDouble accepts as a finite number, except for hexadecimal forms.
var doubleSyntax = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?$`)

// amountValue is a number of cores or megabytes in Java's syntax, so 0.5f is one.
type amountValue struct{ p *float64 }

func (v amountValue) Set(s string) error {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	if !doubleSyntax.MatchString(s) {
		return errors.New("want a number like 0.5")
	}
	n, err := strconv.ParseFloat(strings.TrimRight(s, "fFdD"), 64)
	if err != nil || n < 0 {
		return errors.New("want a number that is not below 0")
	}
	*v.p = n
	return nil
}

func (v amountValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'f', -1, 64)
}

// oneOfWords accepts a choice of words in any case and returns them in the case given here.
func oneOfWords(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(s, w) })
		if i < 0 {
			return "", fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return words[i], nil
	}
}

// The checks below take an option's text and return it in the form that the
// rest of the program relies on. No error repeats the text: it may hold a secret.

// checkDir accepts the name of a directory, which need not exist yet.
func checkDir(s string) (string, error) {
	if s == "" || strings.ContainsFunc(s, unicode.IsControl) {
		return "", errors.New("want the name of a directory")
	}
	return s, nil
}

// checkHost accepts only a name or an address. "" counts as not given.
func checkHost(s string) (string, error) {
	if strings.ContainsAny(s, " \t\n/@") || strings.Contains(s, ":") && net.ParseIP(strings.Trim(s, "[]")) == nil {
		return "", errors.New("want a host name or an address, without a port")
	}
	return strings.Trim(s, "[]"), nil
}

func checkPort(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want a port from 1 to 65535 after the colon")
	}
	return nil
}

// checkHostPort accepts host:port, with brackets around an IPv6 address.
func checkHostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " \t\n/@") {
		return "", errors.New("want host:port")
	}
	return s, checkPort(port)
}

// checkHostPortOrNone also accepts "", which switches the feature off.
func checkHostPortOrNone(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return checkHostPort(s)
}

// checkCredentials accepts user:password. "" means none. The JVM versions served without a
// password if the text had any other form; that is refused here.
func checkCredentials(s string) (string, error) {
	user, password, ok := strings.Cut(s, ":")
	if s != "" && (!ok || user == "" || password == "") {
		return "", errors.New("want user:password")
	}
	return s, nil
}

func checkWebURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("want a URL that starts with http:// or https://")
	}
	return s, nil
}

// checkZKPath accepts an absolute path and returns it without a trailing slash, so
// that the root is "".
func checkZKPath(s string) (string, error) {
	trimmed := strings.TrimRight(s, "/")
	if trimmed == "" {
		return "", nil
	}
	if !strings.HasPrefix(s, "/") {
		return "", errors.New("want a path that starts with /")
	}
	for _, name := range strings.Split(trimmed[1:], "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, unicode.IsControl) {
			return "", errors.New("want a path like /chronos/state, without empty or dotted names")
		}
	}
	return trimmed, nil
}

// A zkAddress is what zk://user:password@host:port,host:port/path says.
type zkAddress struct {
	hosts []string // host:port each, at least one
	path  string   // "" or /...
	auth  string   // user:password, or ""
}

// parseZKAddress reads the text after zk://.
func parseZKAddress(s string) (zkAddress, error) {
	var a zkAddress
	if i := strings.LastIndex(s, "@"); i >= 0 {
		a.auth, s = s[:i], s[i+1:]
		if _, err := checkCredentials(a.auth); err != nil {
			return a, errors.New("want user:password before the @")
		}
	}
	s, path, found := strings.Cut(s, "/")
	if found {
		a.path = "/" + path
	}
	a.hosts = strings.Split(s, ",")
	for _, h := range a.hosts {
		if _, err := checkHostPort(h); err != nil {
			return a, errors.New("zookeeper servers must be provided in the form host1:port1,host2:port2")
		}
	}
	return a, nil
}

// zkHostsValue is --zk_hosts in both of its forms. With zk:// the path is dropped; without, it
// is a chroot.
type zkHostsValue struct{ f *flags }

func (v zkHostsValue) Set(s string) error {
	plain := strings.ReplaceAll(s, "zk://", "")
	a, err := parseZKAddress(plain)
	if err != nil {
		return err
	}
	if plain != s {
		a.path = ""
	}
	chroot, err := checkZKPath(a.path)
	if err != nil {
		return err
	}
	v.f.zkHosts, v.f.zkChroot, v.f.zkAuth = a.hosts, chroot, a.auth
	return nil
}

func (v zkHostsValue) String() string {
	if v.f == nil {
		return ""
	}
	return strings.Join(v.f.zkHosts, ",") + v.f.zkChroot
}

// checkMaster accepts one of the forms that libmesos accepted, or a URL of the v1 API.
func checkMaster(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch scheme, rest, found := strings.Cut(s, "://"); {
	case s == "local":
		return s, nil
	case isKubernetes(s):
		return s, checkKubeMaster(s)
	case !found:
		_, err := checkHostPort(strings.TrimPrefix(s, "master@"))
		if err != nil {
			return "", errors.New("want local, k8s, host:port, http://host:port, https://host:port, zk://host:port,.../path, file:///path or k8s://host:port")
		}
		return strings.TrimPrefix(s, "master@"), nil
	case scheme == "zk":
		return s, checkZKMaster(rest)
	case scheme == "file":
		if !strings.HasPrefix(rest, "/") {
			return "", errors.New("want file:///path")
		}
		return s, nil
	case scheme == "http" || scheme == "https":
		if _, err := checkHostPort(strings.TrimRight(rest, "/")); err != nil {
			return "", errors.New("want " + scheme + "://host:port")
		}
		return strings.TrimRight(s, "/"), nil
	}
	return "", errors.New("want local, host:port, or a URL that starts with http://, https://, zk://, file:// or k8s://")
}

// checkKubeMaster checks what follows k8s.
func checkKubeMaster(s string) error {
	rest, ok := strings.CutPrefix(s, kubeScheme)
	if !ok || strings.HasPrefix(rest, "/") && rest != "/" {
		return nil
	}
	if _, err := checkHostPort(rest); err != nil {
		return errors.New("want k8s, k8s://host:port or k8s:///path/to/kubeconfig")
	}
	return nil
}

func checkZKMaster(rest string) error {
	a, err := parseZKAddress(rest)
	if err != nil {
		return err
	}
	if path, err := checkZKPath(a.path); err != nil || path == "" {
		return errors.New("want the path of the masters too, as in zk://host:port/mesos")
	}
	return nil
}

// The command line is read by the rules of the JVM versions' parser, which are not
// those of package flag: a boolean takes no value, and every value word up to the
// next option word belongs to the option before it.

// assignment is one option word with its value.
type assignment struct {
	opt   option
	value string
}

// optionWords are an option and the value words after it, not yet counted.
type optionWords struct {
	opt    option
	values []string
	glued  bool // the first value came with the option word: --opt=value
}

var (
	errHelpWord    = errors.New("--help")
	errVersionWord = errors.New("--version")
)

// optionWord reports whether a word names an option: it starts with a dash that is
// not followed by a digit, so that -5 is a value.
func optionWord(word string) bool {
	rest, ok := strings.CutPrefix(word, "-")
	r, _ := utf8.DecodeRuneInString(rest)
	return ok && rest != "" && !unicode.IsDigit(r)
}

// splitWords turns the command line into assignments, in order. --help and
// --version count wherever they occur as option words, despite any mistake.
func splitWords(args []string, table []option) ([]assignment, error) {
	options := args
	if end := slices.Index(args, "--"); end >= 0 {
		options = args[:end]
	}
	if slices.Contains(options, "--help") {
		return nil, errHelpWord
	}
	if slices.Contains(options, "--version") {
		return nil, errVersionWord
	}
	var groups []optionWords
	for len(args) > 0 {
		n := 1
		for n < len(args) && !optionWord(args[n]) {
			n++
		}
		switch {
		case !optionWord(args[0]):
			return nil, excess(args[:n], "options start with --")
		case args[0] == "--":
			if len(args) > 1 {
				return nil, excess(args[1:], "nothing may follow --")
			}
			return countValues(groups)
		}
		group, err := matchOption(args[0], table)
		if err != nil {
			return nil, err
		}
		group.values = append(group.values, args[1:n]...)
		groups = append(groups, group)
		args = args[n:]
	}
	return countValues(groups)
}

// matchOption finds the option that one word names. After a single dash the
// first letter is a short option and the rest its value, unless the
// whole word is the name of an option.
func matchOption(word string, table []option) (optionWords, error) {
	letters := strings.TrimPrefix(word, "-")
	long, isLong := strings.CutPrefix(letters, "-")
	name, value, glued := strings.Cut(long, "=")
	if i := slices.IndexFunc(table, func(o option) bool { return o.name == name }); i >= 0 {
		w := optionWords{opt: table[i], glued: glued}
		if glued {
			w.values = []string{value}
		}
		return w, nil
	}
	if isLong {
		return optionWords{}, unknownOption(name, table)
	}
	r, size := utf8.DecodeRuneInString(letters)
	i := slices.IndexFunc(table, func(o option) bool { return o.short == string(r) })
	if i < 0 {
		return optionWords{}, unknownOption(string(r), table)
	}
	w := optionWords{opt: table[i]}
	if rest := letters[size:]; rest != "" {
		w.values = []string{rest}
	}
	return w, nil
}

// countValues checks that each option has as many values as it takes.
func countValues(groups []optionWords) ([]assignment, error) {
	var given []assignment
	for i, g := range groups {
		value, err := g.value(i == len(groups)-1)
		if err != nil {
			return nil, err
		}
		given = append(given, assignment{g.opt, value})
	}
	return given, nil
}

// value returns the option's one value. The errors for more or fewer are worded
// differently for the last option, as in the JVM versions.
func (w optionWords) value(last bool) (string, error) {
	n, name := len(w.values), w.opt.name
	shown := printable(strings.Join(w.values, " "))
	if w.opt.secret {
		shown = "..."
	}
	switch boolean := w.opt.boolean(); {
	case boolean && n == 0:
		return "true", nil
	case boolean && n == 1 && w.glued:
		if v := w.values[0]; v == "true" || v == "false" {
			return v, nil
		}
		return "", usageErrorf("Bad arguments for option '%s': '%s' - too many arguments for flag option: only =true or =false may follow", name, shown)
	case boolean && last:
		return "", excess(w.values, "--"+name+" takes no value but =true or =false")
	case boolean:
		return "", usageErrorf("Bad arguments for option '%s': '%s' - too many arguments for flag option: only =true or =false may follow", name, shown)
	case n == 1:
		return w.values[0], nil
	case n == 0:
		hint := "a value that starts with a dash needs the form --" + name + "=..."
		if last {
			hint = "--help lists the options"
		}
		return "", usageErrorf("Bad arguments for option '%s': '' - you should provide exactly one argument for this option (%s)", name, hint)
	case last && w.opt.secret:
		return "", excess([]string{"..."}, "--"+name+" takes one value")
	case last:
		return "", excess(w.values[1:], "--"+name+" takes one value")
	}
	return "", usageErrorf("Bad arguments for option '%s': '%s' - you should provide exactly one argument for this option", name, shown)
}

func excess(words []string, why string) error {
	return usageErrorf("Excess arguments provided: '%s' - %s", printable(strings.Join(words, " ")), why)
}

// unknownOption returns an error that names the nearest existing option.
func unknownOption(name string, table []option) error {
	shown := printable(name)
	if utf8.RuneCountInString(name) == 1 {
		var letters []string
		for _, o := range table {
			if o.short != "" {
				letters = append(letters, "-"+o.short)
			}
		}
		slices.Sort(letters)
		return usageErrorf("Unknown option '%s' - the short options are %s", shown, strings.Join(letters, " "))
	}
	if near := nearestOption(name, table); near != "" {
		return usageErrorf("Unknown option '%s' - did you mean --%s?", shown, near)
	}
	return usageErrorf("Unknown option '%s' - --help lists the options", shown)
}

// nearestOption returns the option whose name is the fewest edits away, or "" if every
// one differs in more than half of its letters.
func nearestOption(name string, table []option) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, bestDistance := "", len(name)/2+1
	for _, o := range table {
		if d := editDistance(name, o.name); d < bestDistance {
			best, bestDistance = o.name, d
		}
	}
	return best
}

// editDistance returns the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// printable makes any text fit into a one-line error.
func printable(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

var termNode = regexp.MustCompile(`^[0-9]+-[0-9a-f]+$`)

// checkTermNode accepts what termMark calls a node.
func checkTermNode(s string) (string, error) {
	if !termNode.MatchString(s) {
		return "", errors.New("want the value that an instance's log and /health show, such as 1767225600000-2f")
	}
	return s, nil
}
