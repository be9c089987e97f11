package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"
)

func TestGroupsAreFound(t *testing.T) {
	t.Parallel()
	const (
		unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "32 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		inside  = "900 890 0:26 /docker/1f /sys/fs/cgroup ro,nosuid shared:5 - cgroup2 cgroup rw\n"
	)
	for _, tt := range []struct{ name, mounts, membership, want string }{
		{"version 2 only", unified, "0::/system.slice/chronos.service\n", "/sys/fs/cgroup/system.slice/chronos.service"},
		{"beside version 1", hybrid, "4:memory:/elsewhere\n0::/\n", "/sys/fs/cgroup/unified"},
		{"a container without a name space of its own", inside, "0::/docker/1f/sub\n", "/sys/fs/cgroup/sub"},
		{"a container with one", unified, "0::/\n", "/sys/fs/cgroup"},
		{"version 1 only", "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n", ""},
		{"not a member", unified, "", ""},
	} {
		p, ok := findGroups(fstest.MapFS{
			"proc/self/mountinfo": {Data: []byte("22 28 0:21 / /proc rw - proc proc rw\n" + tt.mounts)},
			"proc/self/cgroup":    {Data: []byte(tt.membership)},
		})
		if ok != (tt.want != "") || ok && p.dir() != tt.want {
			t.Errorf("%s: %v %v, want %q", tt.name, p, ok, tt.want)
		}
	}
}

// fakeGroup makes files as the kernel has them in a group.
func fakeGroup(t *testing.T, dir string, files ...string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	for _, f := range files {
		must(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
}

func TestProgramMovesIntoALeafBesideItsRuns(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	own := filepath.Join(mount, "system.slice/chronos.service")
	fakeGroup(t, mount, "cgroup.procs")
	fakeGroup(t, own, "cgroup.type", "cgroup.procs")
	fakeGroup(t, filepath.Join(own, leafName), "cgroup.type", "cgroup.procs")
	pid := strconv.Itoa(os.Getpid())
	for _, tt := range []struct{ own, want, moved string }{
		{"/system.slice/chronos.service", own, filepath.Join(own, leafName)},
		{"/system.slice/chronos.service/" + leafName, own, ""}, // where it was moved before
		{"/", mount, ""},
	} {
		must(t, os.WriteFile(filepath.Join(own, leafName, "cgroup.procs"), nil, 0o644))
		dir, err := makeGroups(groupPlace{mount: mount, root: "/", own: tt.own})
		if want := filepath.Join(tt.want, groupsName); err != nil || dir != want {
			t.Errorf("in %s: runs in %q, %v, want %q", tt.own, dir, err, want)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("in %s: %v", tt.own, err)
		}
		moved := string(readFile(t, filepath.Join(own, leafName, "cgroup.procs")))
		if want := map[bool]string{true: pid}[tt.moved != ""]; moved != want {
			t.Errorf("in %s: moved %q into the leaf, want %q", tt.own, moved, want)
		}
	}
	if _, err := makeGroups(groupPlace{mount: mount, root: "/", own: "/gone"}); err == nil {
		t.Error("groups were made where there is no group")
	}
}
