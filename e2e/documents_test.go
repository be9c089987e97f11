package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"
)

// A codeBlock is what stands between two fences of a document.
type codeBlock struct {
	language string
	needs    string // what the comment before it says that it needs, or why it is not run
	text     string
	line     int
	indent   int
}

// exemption is the comment that keeps a block from being run.
var exemption = regexp.MustCompile(`^<!-- (needs: .+|not run: .+) -->$`)

// otherPrograms is what a block may need that the tests do not run for a document.
var otherPrograms = []string{"Docker", "Go", "HAProxy", "Marathon", "Mesos", "Prometheus", "ZooKeeper", "a JVM version", "a password", "a second instance", "git", "jq", "root", "systemd"}

// documents are the Markdown files of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "marathon/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

// blocksOf returns the blocks of a document, which must be closed, with a language each.
func blocksOf(t *testing.T, document string) (blocks []codeBlock) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var open *codeBlock
	needs := "" // of the next block
	for i, line := range strings.Split(string(text), "\n") {
		inner := strings.TrimLeft(line, " ") // a fence may be part of a list
		language, fence := strings.CutPrefix(inner, "```")
		switch {
		case fence && open != nil:
			blocks, open = append(blocks, *open), nil
		case fence:
			if language == "" {
				t.Errorf("%s:%d: a block without a language", document, i+1)
			}
			open, needs = &codeBlock{language: language, needs: needs, line: i + 1, indent: len(line) - len(inner)}, ""
		case open != nil:
			open.text += strings.TrimPrefix(line, strings.Repeat(" ", open.indent)) + "\n"
		case exemption.MatchString(inner):
			needs = exemption.FindStringSubmatch(inner)[1]
		case strings.TrimSpace(line) != "":
			needs = ""
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block has no end", document, open.line)
	}
	return blocks
}

// What the documents say to type works as written, in order, beside a new instance in local mode.
func TestDocumentedCommandsWork(t *testing.T) {
	t.Parallel()
	run := 0
	for _, document := range documents(t) {
		var script strings.Builder
		for _, b := range blocksOf(t, document) {
			if what, found := strings.CutPrefix(b.needs, "needs: "); found {
				for _, one := range strings.Split(what, ", ") {
					if !slices.Contains(otherPrograms, one) {
						t.Errorf("%s:%d: needs %q, which is none of %q", document, b.line, one, otherPrograms)
					}
				}
			}
			if b.language == "sh" && b.needs == "" {
				fmt.Fprintf(&script, "{ echo '%s:%d'; } >&2\n%s", document, b.line, b.text)
				run++
			}
		}
		if script.Len() > 0 {
			t.Run(filepath.Base(document), func(t *testing.T) {
				t.Parallel()
				runBeside(t, script.String())
			})
		}
	}
	if run < 20 {
		t.Errorf("only %d blocks are run", run)
	}
}

// besideInstance runs a script where "chronos" is the program, beside an instance that was started in the same
// directory as "chronos" is started without options. A request that is refused stops it.
const besideInstance = `set -e
curl() { command curl --fail-with-body "$@"; }
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
chronos >log 2>&1 &
trap 'kill $! && wait $!' EXIT
until chronos healthcheck; do kill -0 $!; done 2>/dev/null
set -u
`

func runBeside(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(program(), filepath.Join(dir, "chronos")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", besideInstance+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+":/usr/sbin:/sbin:"+os.Getenv("PATH"), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // missing if it never started, which err says
		t.Errorf("%v; the last place is where it stopped:\n%s\nthe instance logged:\n%s", err, &out, log)
	}
}

var (
	markdownLink    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	markdownHeading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	codeFence       = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// anchorOf is what forges make of a heading.
func anchorOf(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	anchors := map[string][]string{}
	texts := map[string]string{}
	for _, document := range documents(t) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		texts[document] = codeFence.ReplaceAllString(string(text), "")
		for _, m := range markdownHeading.FindAllStringSubmatch(texts[document], -1) {
			anchors[document] = append(anchors[document], anchorOf(m[1]))
		}
	}
	for document, text := range texts {
		for _, m := range markdownLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			name, anchor, _ := strings.Cut(m[1], "#")
			target := document
			if name != "" {
				target = filepath.Join(filepath.Dir(document), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", document, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors[target], anchor) {
				t.Errorf("%s links to %s, and there is no such heading", document, m[1])
			}
		}
	}
}

// Whoever reads docs/README.md finds every other document.
func TestEveryDocumentIsInTheIndex(t *testing.T) {
	t.Parallel()
	index := inRepository(t, "docs/README.md")
	for _, document := range documents(t) {
		if name := filepath.Base(document); filepath.Base(filepath.Dir(document)) == "docs" && name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}
