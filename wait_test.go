package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMailbox(t *testing.T) {
	t.Parallel()
	ready := func(m *mailbox[int]) bool {
		select {
		case <-m.ready:
			return true
		default:
			return false
		}
	}
	t.Run("keeps the order, and tells once of all that waits", func(t *testing.T) {
		m := newMailbox[int]()
		for i := range 3 {
			if !m.put(i) {
				t.Errorf("put(%d) was refused", i)
			}
		}
		if !ready(m) || ready(m) {
			t.Error("want one token for three items")
		}
		if got := m.take(); !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("take = %v", got)
		}
		if got := m.take(); len(got) != 0 {
			t.Errorf("took %v twice", got)
		}
	})
	t.Run("leaves a token for the next of several who take one each", func(t *testing.T) {
		m := newMailbox[int]()
		m.put(1)
		m.put(2)
		for want := 1; want <= 2; want++ {
			if !ready(m) {
				t.Fatalf("no token while %d waits", want)
			}
			if got, ok := m.first(); !ok || got != want {
				t.Errorf("first = %d, %v, want %d", got, ok, want)
			}
		}
		if _, ok := m.first(); ok || ready(m) || m.size() != 0 {
			t.Error("something is left")
		}
	})
	t.Run("that is closed takes nothing, and gives back what waits", func(t *testing.T) {
		m := newMailbox[int]()
		m.put(1)
		if got := m.close(); !slices.Equal(got, []int{1}) {
			t.Errorf("close = %v", got)
		}
		if m.put(2) || m.size() != 0 {
			t.Error("a closed mailbox has taken something")
		}
	})
}

// Whatever panics ends a term, a subscription or a session, and never the process. So each goroutine of the program that
// serves begins with what catches a panic, or calls a function that does for each thing it works at. The processes that keep runs,
// and commands, have rules of their own.
func TestEveryGoroutineIsGuarded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{"main.go", "local_keeper.go", "local_program.go", "local_linux.go", "local_shortage.go"} // the last only has the runtime make threads
	begun := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "command_") || slices.Contains(elsewhere, file) {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			var f ast.Node
			switch n := n.(type) {
			case *ast.GoStmt:
				f = n.Call
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
					f = n.Args[0]
				}
			}
			if f == nil {
				return true
			}
			if begun++; !callsOneOf(f, "guarded", "unbroken", "decode", "listen", "perform", "Wait") {
				t.Errorf("%s: a panic in this goroutine would end the process; use begin, guarded or unbroken", set.Position(n.Pos()))
			}
			return true
		})
	}
	if begun == 0 {
		t.Error("no goroutine was found")
	}
}

// callsOneOf reports whether a function of one of the names is called somewhere in a node.
func callsOneOf(n ast.Node, names ...string) (calls bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			name := ""
			switch f := c.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			calls = calls || slices.Contains(names, name)
		}
		return true
	})
	return calls
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	var wg sync.WaitGroup
	var failed error
	begin(&wg, log, "part", func(err error) { failed = err }, func() { panic("a fault") })
	wg.Wait()
	if failed == nil || failed.Error() != "part: a fault" {
		t.Errorf("a panic is told as %v", failed)
	}
	synctest.Test(t, func(t *testing.T) {
		began, times := time.Now(), 0
		unbroken(t.Context(), log, "part", func(context.Context) {
			if times++; times < 3 {
				panic("a fault")
			}
		})
		if times != 3 || time.Since(began) != 2*panicPause {
			t.Errorf("ran %d times in %v, want again after each panic", times, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		unbroken(ctx, log, "part", func(context.Context) { cancel(); panic("a fault") })
	})
}
