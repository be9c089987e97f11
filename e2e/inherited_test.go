package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a job has of its process's state, beside its environment, is that with which the program was started. Of the signals that
// are ignored only SIGHUP is, as with nohup: the program takes the others for itself.
func TestJobsHaveMaskAndLimitsOfTheProgramsStart(t *testing.T) {
	t.Parallel()
	const tell = `umask; grep -E "^(SigBlk|SigIgn|NoNewPrivs|Seccomp):" /proc/self/status; cat /proc/self/limits; nice; cat /proc/self/oom_score_adj`
	for name, start := range map[string]string{
		"as it is":            `exec "$@"`,
		"umask":               `umask 027; exec "$@"`,
		"strange umask":       `umask 777; umask 0123; exec "$@"`,
		"fewer descriptors":   `ulimit -S -n 700; exec "$@"`,
		"other limits":        `ulimit -c 0; ulimit -n 900; ulimit -f 1000000; ulimit -S -s 4096; exec "$@"`,
		"ignored signals":     `trap "" HUP INT; exec "$@"`,
		"blocked signals":     `exec env --block-signal=USR1 --block-signal=WINCH "$@"`,
		"priority and memory": `echo 200 > /proc/self/oom_score_adj; exec nice -n 3 "$@"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := exec.Command("/bin/sh", "-c", start, "sh", "/bin/sh", "-c", tell).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, want)
			}
			v := newInstance(t, "log", "--data_dir", filepath.Join(t.TempDir(), "data"))
			v.run(t, exec.Command("/bin/sh", append([]string{"-c", start, "sh", program()}, v.args...)...))
			v.serves(t)
			v.runOnce(t, "tell", tell, "")
			run := v.awaitEnd(t, "tell", 1)
			got := v.mustCall(t, "GET", "/scheduler/run/"+run.ID+"/stdout", "", 200)
			if got != string(want) {
				t.Errorf("a job of a program started with %s has\n%s\nwant\n%s", start, differing(got, string(want)), differing(string(want), got))
			}
			v.terminate(t)
		})
	}
}

// differing is the lines of a text that another one does not have.
func differing(text, other string) (lines string) {
	for line := range strings.Lines(text) {
		if !strings.Contains(other, line) {
			lines += line
		}
	}
	return lines
}
