package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A room is the files that share a concern: one or a few prefixes of their names.
type room struct {
	level int
	names []string // "schedule" stands for schedule.go and schedule_*.go
	pure  bool
}

func (r room) String() string { return strings.Join(r.names, " ") }

// has reports whether a file belongs to the room.
func (r room) has(file string) bool {
	name := strings.TrimSuffix(file, ".go")
	return slices.ContainsFunc(r.names, func(n string) bool { return name == n || strings.HasPrefix(name, n+"_") })
}

// readRooms reads the table of rooms in ARCHITECTURE.md, which is the one that people read too.
func readRooms(t *testing.T) []room {
	t.Helper()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| level | room |")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no table of rooms")
	}
	var rooms []room
	for _, line := range strings.Split(table, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(line, "|")
		level, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			t.Fatalf("ARCHITECTURE.md: %q: %v", line, err)
		}
		r := room{level: level, pure: strings.Contains(cells[3], "Pure")}
		for _, name := range strings.FieldsFunc(cells[2], func(c rune) bool { return c == ' ' || c == ',' }) {
			r.names = append(r.names, strings.Trim(name, "`"))
		}
		rooms = append(rooms, r)
	}
	if len(rooms) < 10 {
		t.Fatalf("read %d rooms from ARCHITECTURE.md", len(rooms))
	}
	return rooms
}

// house is the production code of this package, checked.
type house struct {
	fset  *token.FileSet
	files map[string]*ast.File // by name
	info  *types.Info
}

// openHouse parses and type-checks the production files of the package, once for all tests.
// Bodies that only another platform compiles are not checked.
func openHouse(t *testing.T) *house {
	t.Helper()
	h, err := theHouse()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var theHouse = sync.OnceValues(func() (*house, error) {
	h := &house{
		fset: token.NewFileSet(), files: map[string]*ast.File{},
		info: &types.Info{Uses: map[*ast.Ident]types.Object{}},
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		return nil, err
	}
	var checked []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(h.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		h.files[name] = f
		if !otherPlatform(name) {
			checked = append(checked, f)
		}
	}
	exports, err := exportData(checked)
	if err != nil {
		return nil, err
	}
	conf := types.Config{Importer: importer.ForCompiler(h.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	_, err = conf.Check("main", h.fset, checked, h.info)
	return h, err
})

// exportData returns the files that tell the compiler of each package that these files import. To
// check those packages too, from source, would take longer than any other test.
func exportData(importers []*ast.File) (map[string]string, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}")
	for _, f := range importers {
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			list.Args = append(list.Args, path)
		}
	}
	var complaint bytes.Buffer
	list.Stderr = &complaint
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, &complaint)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return files, nil
}

// otherPlatform reports whether a file is compiled for another system only.
func otherPlatform(name string) bool {
	for _, system := range []string{"linux", "darwin"} {
		if strings.HasSuffix(name, "_"+system+".go") && runtime.GOOS != system {
			return true
		}
	}
	return false
}

// roomsOf returns the room of each file, and complains of a file that has none or several.
func (h *house) roomsOf(t *testing.T, rooms []room) map[string]*room {
	t.Helper()
	of := map[string]*room{}
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		for i := range rooms {
			if !rooms[i].has(name) {
				continue
			}
			if of[name] != nil {
				t.Errorf("%s belongs to two rooms, %v and %v", name, of[name], rooms[i])
			}
			of[name] = &rooms[i]
		}
		if of[name] == nil {
			t.Errorf("%s belongs to no room", name)
		}
	}
	return of
}

// fileOf is the name of the file that something is written in.
func (h *house) fileOf(pos token.Pos) string { return h.fset.Position(pos).Filename }

func TestLowerRoomsKnowNothingOfHigherOnes(t *testing.T) {
	t.Parallel()
	rooms, h := readRooms(t), openHouse(t)
	of := h.roomsOf(t, rooms)
	var wrong []string
	for id, obj := range h.info.Uses {
		if obj.Pkg() == nil || obj.Pkg().Path() != "main" {
			continue
		}
		user, used := of[h.fileOf(id.Pos())], of[h.fileOf(obj.Pos())]
		if user == nil || used == nil || user == used || used.level < user.level {
			continue
		}
		wrong = append(wrong, fmt.Sprintf("%s: room %v uses %s of room %v (%s)", h.fset.Position(id.Pos()), user, id.Name, used, h.fileOf(obj.Pos())))
	}
	slices.Sort(wrong)
	for _, w := range wrong {
		t.Error(w)
	}
}

// A method written in another room than its type would be a way around the order.
func TestMethodsLiveInTheRoomOfTheirType(t *testing.T) {
	t.Parallel()
	rooms, h := readRooms(t), openHouse(t)
	of := h.roomsOf(t, rooms)
	for file, f := range h.files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || otherPlatform(file) {
				continue
			}
			ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && h.info.Uses[id] != nil {
					if home := h.fileOf(h.info.Uses[id].Pos()); of[home] != of[file] {
						t.Errorf("%s: method %s of %s, which lives in %s", file, fn.Name.Name, id.Name, home)
					}
				}
				return true
			})
		}
	}
}

// The pure rooms take values and the present instant and return values: they do no I/O,
// log nothing, and never ask for the time.
func TestPureRoomsStayPure(t *testing.T) {
	t.Parallel()
	rooms, h := readRooms(t), openHouse(t)
	forbidden := []string{"net", "os", "context", "log", "io", "syscall", "github.com/go-zookeeper"}
	pure := 0
	for name, r := range h.roomsOf(t, rooms) {
		if !r.pure {
			continue
		}
		pure++
		for _, spec := range h.files[name].Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			for _, bad := range forbidden {
				if path == bad || strings.HasPrefix(path, bad+"/") && path != "net/url" { // which only parses
					t.Errorf("%s imports %q", name, path)
				}
			}
		}
		ast.Inspect(h.files[name], func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if p, ok := sel.X.(*ast.Ident); ok && p.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer"}, sel.Sel.Name) {
					t.Errorf("%s asks for the time", h.fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if pure < 10 {
		t.Errorf("%d pure files, want those of schedule, job and run", pure)
	}
}

// Files are of a size that can be read at a sitting, and worth opening.
func TestFilesAreNeitherLongNorTiny(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	if n := len(h.files); n > 185 {
		t.Errorf("%d production files, want at most 185", n)
	}
	for name, f := range h.files {
		platform := strings.HasSuffix(name, "_linux.go") || strings.HasSuffix(name, "_darwin.go")
		if lines := h.fset.File(f.Pos()).LineCount(); lines > 650 || lines < 60 && !platform {
			t.Errorf("%s has %d lines, want 60 to 650", name, lines)
		}
	}
}

// Whoever opens a file finds its tests beside it. Others stand for a whole room; what all of them use is in
// testbed files, and what is measured in bench files.
func TestFilesOfTestsAreNamedAfterWhatTheyTest(t *testing.T) {
	t.Parallel()
	rooms, h := readRooms(t), openHouse(t)
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		subject := strings.TrimSuffix(strings.TrimSuffix(name, "_test.go"), "_services")
		if h.files[subject+".go"] != nil || strings.HasPrefix(subject, "testbed") || strings.HasPrefix(subject, "bench_") || subject == "rooms" {
			continue
		}
		if !slices.ContainsFunc(rooms, func(r room) bool { return r.has(subject + ".go") }) {
			t.Errorf("%s tests no file and no room", name)
		}
	}
}
