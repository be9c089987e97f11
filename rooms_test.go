package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// openHouse parses and type-checks the production files of the package for one platform.
// Bodies that only another platform compiles are not seen.
func openHouse(t *testing.T) *house {
	t.Helper()
	h := &house{
		fset: token.NewFileSet(), files: map[string]*ast.File{},
		info: &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}},
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var checked []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(h.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		h.files[name] = f
		if !otherPlatform(name) {
			checked = append(checked, f)
		}
	}
	conf := types.Config{
		// What is imported does not matter here, so nothing is read from disk: types of other packages are unknown.
		Importer: importer.ForCompiler(h.fset, "source", nil),
	}
	if _, err := conf.Check("main", h.fset, checked, h.info); err != nil {
		t.Fatal(err)
	}
	return h
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

func TestLowerRoomsKnowNothingOfHigherOnes(t *testing.T) {
	rooms, h := readRooms(t), openHouse(t)
	roomOf := map[string]*room{}
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		for i := range rooms {
			if rooms[i].has(name) {
				if roomOf[name] != nil {
					t.Errorf("%s belongs to two rooms, %v and %v", name, roomOf[name], rooms[i])
				}
				roomOf[name] = &rooms[i]
			}
		}
		if roomOf[name] == nil {
			t.Errorf("%s belongs to no room", name)
		}
	}
	var wrong []string
	for id, obj := range h.info.Uses {
		if obj.Pkg() == nil || obj.Pkg().Path() != "main" {
			continue
		}
		from, to := h.fset.Position(id.Pos()), h.fset.Position(obj.Pos()).Filename
		user, used := roomOf[from.Filename], roomOf[to]
		if user == nil || used == nil || user == used || used.level < user.level {
			continue
		}
		wrong = append(wrong, fmt.Sprintf("%s:%d: room %v uses %s of room %v (%s)", from.Filename, from.Line, user, id.Name, used, to))
	}
	slices.Sort(wrong)
	for _, w := range wrong {
		t.Error(w)
	}
}
