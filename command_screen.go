package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"
)

// A screen is where a subcommand writes: a person's, or a file or pipe of a script.
type screen struct {
	io.Writer
	width  int  // in letters; 0 for any
	colour bool // may be used
	live   bool // the screen can be drawn anew
}

// newScreen looks at what an output is. COLUMNS and NO_COLOR count, as in other programs.
func newScreen(w io.Writer, environ func(string) string) *screen {
	t := &screen{Writer: w}
	f, ok := w.(*os.File)
	if !ok {
		return t
	}
	if t.width, _ = windowSize(f); t.width == 0 {
		return t
	}
	if n, err := strconv.Atoi(environ("COLUMNS")); err == nil && n > 0 {
		t.width = n
	}
	dumb := environ("TERM") == "dumb"
	t.live, t.colour = !dumb, !dumb && environ("NO_COLOR") == ""
	return t
}

// windowSize returns the size of the window that shows a file, 0 if none does.
func windowSize(f *os.File) (columns, rows int) {
	var size struct{ rows, columns, _, _ uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, 0
	}
	if size.columns == 0 { // a terminal that has not been told its size, as that of a container at its start
		return 80, 24
	}
	return int(size.columns), int(size.rows)
}

// Colours of a cell, as ANSI codes.
const (
	uncoloured = ""
	bold       = "1"
	faint      = "2"
	red        = "31"
	green      = "32"
	yellow     = "33"
	blue       = "34"
)

// A cell is a text of a table.
type cell struct{ text, colour string }

// stateColour is that of a run's or job's state.
func stateColour(state string) string {
	switch state {
	case "failure", "failed", "lost":
		return red
	case "success", "finished":
		return green
	case "queued", "launching", "awaiting", "skipped", "missed", "killed":
		return yellow
	}
	if strings.HasSuffix(state, "running") || state == "active" {
		return blue
	}
	return uncoloured
}

func stateCell(state string) cell { return cell{state, stateColour(state)} }

func textCell(text string) cell { return cell{text: text} }

// paint returns the text of a cell in its colour, where there are any.
func (o *screen) paint(c cell) string {
	if !o.colour || c.colour == uncoloured || c.text == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

// columnGap stands between two columns of a table.
const columnGap = "  "

// table writes rows below their titles. In a window that is too narrow the widest columns are cut.
func (o *screen) table(titles []string, rows [][]cell) error {
	widths := make([]int, len(titles))
	head := make([]cell, len(titles))
	for i, title := range titles {
		head[i] = cell{title, bold}
	}
	all := append([][]cell{head}, rows...)
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	o.fit(widths)
	var out strings.Builder
	for _, row := range all {
		for i, c := range row {
			text := cutLetters(oneLine(c.text), widths[i])
			pad := widths[i] - utf8.RuneCountInString(text)
			text = o.paint(cell{text, c.colour})
			if i > 0 {
				out.WriteString(columnGap)
			}
			out.WriteString(text)
			if i < len(row)-1 {
				out.WriteString(strings.Repeat(" ", pad))
			}
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(o, out.String())
	return err
}

// leastColumn is how narrow a column may become.
const leastColumn = 8

// fit narrows the widest columns until all fit into the window.
func (o *screen) fit(widths []int) {
	if o.width == 0 {
		return
	}
	room := o.width - len(columnGap)*(len(widths)-1)
	for {
		total, widest := 0, 0
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= room || widths[widest] <= leastColumn {
			return
		}
		widths[widest]--
	}
}

// cutLetters keeps so many letters of a text.
func cutLetters(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	letters := []rune(text)
	return string(letters[:max(0, most-1)]) + "…"
}

// oneLine keeps what a job's document says from drawing on the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

// fields writes what there is of a thing, one property a line; empty ones are left out.
func (o *screen) fields(pairs ...[2]string) {
	width := 0
	for _, p := range pairs {
		if p[1] != "" {
			width = max(width, len(p[0]))
		}
	}
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(o, "%-*s  %s\n", width+1, p[0]+":", oneLine(p[1]))
		}
	}
}

// fromNow tells how far an instant in ms is from now, roughly: "in 5m", "3h ago"; "" for none.
func fromNow(ms, now int64) string {
	if ms == 0 {
		return ""
	}
	d := time.Duration(ms-now) * time.Millisecond
	if d < 0 {
		return roughly(-d) + " ago"
	}
	return "in " + roughly(d)
}

// roughly writes a duration with the two largest of its units.
func roughly(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3gs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// hereTime writes an instant in ms in the zone of who reads it, "" for none.
func hereTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05 MST")
}
