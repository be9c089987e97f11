package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"
)

const (
	// maxSecret bounds a secret, in bytes: the kernel takes no variable of more than 128 KiB.
	maxSecret = 64 << 10
	// maxIndex bounds the index of the secrets.
	maxIndex = 1 << 20
	// everyJob stands in the index for all jobs.
	everyJob = "*"
)

// A secretRights is what one state of the index says: which jobs may use which secrets. It never changes.
type secretRights struct {
	prefixes map[string][]string // of jobs' names, by secret
	guarded  []string            // all of them but everyJob
}

// parseIndex reads the index of the secrets, whose lines are NAME:PREFIX[,PREFIX...], or comments that begin with #.
func parseIndex(text []byte) (*secretRights, error) {
	r := &secretRights{prefixes: map[string][]string{}}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := r.parseLine(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	slices.Sort(r.guarded)
	r.guarded = slices.Compact(r.guarded)
	return r, nil
}

func (r *secretRights) parseLine(line string) error {
	name, list, ok := strings.Cut(line, ":")
	switch {
	case !ok || list == "":
		return errors.New("want NAME:PREFIX[,PREFIX...], as in db-password:import-,export-")
	case !validSecret(name):
		return fmt.Errorf("%q is no name of a secret: %s", name, secretNames)
	case r.prefixes[name] != nil:
		return fmt.Errorf("secret %q stands there twice", name)
	}
	for prefix := range strings.SplitSeq(list, ",") {
		switch {
		case prefix == everyJob:
		case !validJobName(prefix):
			return fmt.Errorf("secret %q: %q is neither the beginning of a job's name nor %s", name, prefix, everyJob)
		default:
			r.guarded = append(r.guarded, prefix)
		}
		r.prefixes[name] = append(r.prefixes[name], prefix)
	}
	return nil
}

// allows is nil if a job of that name may use the secret.
func (r *secretRights) allows(name, job string) error {
	prefixes, known := r.prefixes[name]
	switch {
	case !known:
		return fmt.Errorf("secret %q is not in the index of --secrets_dir, so no job may use it", name)
	case !slices.ContainsFunc(prefixes, func(p string) bool { return p == everyJob || strings.HasPrefix(job, p) }):
		return fmt.Errorf("secret %q is not for jobs of this name, as the index of --secrets_dir says", name)
	}
	return nil
}

// A vault reads secrets from the files of a directory, for the jobs that its index names. The index is read again when it has
// changed. A broken one leaves the old in force.
type vault struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	text   []byte // of the index as it was last read, good or not
	rights *secretRights
	broken string // why the index as it is now is not in force, "" if it is
}

// openVault reads the index for the first time; then it must be good.
func openVault(path string, log *slog.Logger) (*vault, error) {
	v := &vault{path: path, log: log}
	text, err := v.read(secretIndex, maxIndex)
	if err != nil {
		return nil, err
	}
	if v.rights, err = parseIndex(text); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", secretIndex, path, err)
	}
	v.text = text
	v.tell()
	return v, nil
}

// tell logs what a person should know of an index that comes into force.
func (v *vault) tell() {
	v.log.Info("the index of the secrets is in force", "dir", v.path, "secrets", len(v.rights.prefixes))
	for _, prefix := range v.rights.guarded {
		if endsInWord(prefix) {
			v.log.Warn("a prefix in the index of the secrets ends in a letter or digit: "+prefix+" is also "+prefix+"b; end it with -, _, . or #, unless it is a whole name", "prefix", prefix)
		}
	}
}

// watch keeps the index up to date until ctx ends.
func (v *vault) watch(ctx context.Context) {
	for rest(ctx, usersInterval) {
		v.look()
	}
}

// look reads the index, puts it in force if it has changed and is good, and returns what is in force.
func (v *vault) look() *secretRights {
	text, err := v.read(secretIndex, maxIndex)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && v.broken == "" && bytes.Equal(text, v.text) {
		return v.rights
	}
	var next *secretRights
	if err == nil {
		next, err = parseIndex(text)
	}
	if err != nil {
		if why := err.Error(); why != v.broken {
			v.broken = why
			v.log.Error("the index of the secrets can't be used; the old one stays in force", "dir", v.path, "error", err)
		}
		return v.rights
	}
	changed := !bytes.Equal(text, v.text)
	v.text, v.rights, v.broken = text, next, ""
	if changed {
		v.tell()
	}
	return next
}

// inForce is what the index says, as it was last read.
func (v *vault) inForce() *secretRights {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rights
}

// guards are the prefixes of jobs' names that the index names: who has no right to all of such names may not use one.
func (v *vault) guards() []string { return v.inForce().guarded }

// files are those of the directory, none without a vault.
func (v *vault) files() (all []string) {
	if v == nil {
		return nil
	}
	entries, err := os.ReadDir(v.path)
	if err != nil {
		return []string{v.path}
	}
	for _, e := range entries {
		if validSecret(e.Name()) {
			all = append(all, filepath.Join(v.path, e.Name()))
		}
	}
	return all
}

// problem is why the index as it is now is not in force, "" if it is, or if there is no vault.
func (v *vault) problem() string {
	if v == nil {
		return ""
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken == "" {
		return ""
	}
	return "the index of the secrets can't be used, and the old one stays in force: " + v.broken
}

// warnings says which secrets a job names and may not use, as far as the index tells.
func (v *vault) warnings(j *Job) (all []Warning) {
	for _, named := range j.secrets() {
		err := errNoVault
		if v != nil {
			err = v.inForce().allows(named.Secret, j.Name)
		}
		if err != nil {
			all = append(all, Warning{secretsMember, fmt.Sprintf("%s: %v; its attempts fail for as long as that is so", quoteWarned(named.Name), err)})
		}
	}
	return all
}

// errNoVault refuses secrets where there are none.
var errNoVault = errors.New("this server has no --secrets_dir, which secrets are read from")

// secret returns the value of a secret for a job.
func (v *vault) secret(name, job string) (string, error) {
	if err := v.look().allows(name, job); err != nil {
		return "", err
	}
	contents, err := v.read(name, maxSecret)
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	text := trimSecret(contents)
	switch {
	case text == "":
		return "", fmt.Errorf("secret %q: its file is empty", name)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "", fmt.Errorf("secret %q: its file is no text", name)
	}
	return text, nil
}

// read reads a file of the directory. Links may lead to others inside of it only, which is how Kubernetes replaces secrets.
func (v *vault) read(name string, most int64) ([]byte, error) {
	if err := v.checkDir(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(v.path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s in %s", name, v.path)
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil {
		err = v.checkFile(name, info)
	}
	if err != nil {
		return nil, err
	}
	contents, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(contents)) > most {
		err = fmt.Errorf("file %s in %s has more than %d KiB", name, v.path, most>>10)
	}
	return contents, err
}

// writableByOthers are the bits of a mode that let others than the owner write.
const writableByOthers = 0o022

// checkDir refuses a directory in which others could put files in the place of secrets.
func (v *vault) checkDir() error {
	info, err := os.Stat(v.path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", v.path)
	case info.Mode().Perm()&writableByOthers != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("others than its owner may write in %s (mode %s); chmod go-w %s", v.path, info.Mode(), v.path)
	}
	return nil
}

// checkFile refuses a file that others may have written.
func (v *vault) checkFile(name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s in %s is not a file", name, v.path)
	case info.Mode().Perm()&writableByOthers != 0:
		return fmt.Errorf("others than its owner may write to %s in %s (mode %s); chmod go-w it", name, v.path, info.Mode())
	case ok && st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s in %s belongs to user %d, and must belong to root or to the user of this program", name, v.path, st.Uid)
	}
	return nil
}
