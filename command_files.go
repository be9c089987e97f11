package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A fileJob is the document of a job in a file.
type fileJob struct {
	file     string
	name     string
	document json.RawMessage
}

// isJobFile reports whether a file in a directory is one of jobs.
func isJobFile(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(name)))
}

// jobFiles lists the files of jobs in directories and below, and those that are named, in a fixed order. Names that begin with
// a dot are not looked at: .git, .github.
func jobFiles(paths []string) (files []string, err error) {
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			hidden := path != root && strings.HasPrefix(d.Name(), ".")
			switch {
			case err != nil:
				return err
			case d.IsDir() && hidden:
				return fs.SkipDir
			case !d.IsDir() && !hidden && (path == root || isJobFile(path)):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readJobFiles reads all documents, and says of all files what is wrong with them.
func readJobFiles(paths []string) ([]fileJob, error) {
	files, err := jobFiles(paths)
	if err != nil {
		return nil, err
	}
	var jobs []fileJob
	var faults []error
	at := map[string]string{}
	for _, file := range files {
		documents, err := readDocuments(file)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", file, err))
			continue
		}
		for _, document := range documents {
			name := value(document).object().get("name").text()
			switch first := at[name]; {
			case name == "":
				faults = append(faults, fmt.Errorf("%s: a document is no job: it has no key name", file))
			case first != "":
				faults = append(faults, fmt.Errorf("%s: job %q is in %s too", file, name, first))
			default:
				at[name] = file
				jobs = append(jobs, fileJob{file, name, document})
			}
		}
	}
	return jobs, errors.Join(faults...)
}

// readDocuments reads the documents in a file: one job or a list of jobs, or several of those.
func readDocuments(file string) (documents []json.RawMessage, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	read := yamlDocuments
	if strings.EqualFold(filepath.Ext(file), ".json") {
		read = jsonDocuments
	}
	all, err := read(text)
	if err != nil {
		return nil, err
	}
	for _, document := range all {
		root, err := parseValue(document)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(root), "[") {
			documents = append(documents, json.RawMessage(root))
			continue
		}
		for _, job := range root.elements() {
			documents = append(documents, json.RawMessage(job))
		}
	}
	return documents, nil
}

func jsonDocuments(text []byte) (all []json.RawMessage, err error) {
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var document json.RawMessage
		switch err := d.Decode(&document); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", position(text, int(d.InputOffset())), err)
		}
		all = append(all, document)
	}
}

func yamlDocuments(text []byte) (all []json.RawMessage, err error) {
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var node yaml.Node
		switch err := d.Decode(&node); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, err
		}
		asMeant(&node, "")
		w := nodeWriter{}
		if w.append(&node); w.err != nil {
			return nil, w.err
		}
		if string(w.text) == "null" {
			continue // nothing but comments
		}
		all = append(all, w.text)
	}
}

// A nodeWriter writes YAML as JSON, the keys in their order.
type nodeWriter struct {
	text  []byte
	nodes int // so far: an alias may stand for much, or for itself
	err   error
}

const maxNodes = 1_000_000

func (w *nodeWriter) append(n *yaml.Node) {
	if w.nodes++; w.nodes > maxNodes && w.err == nil {
		w.err = fmt.Errorf("line %d: its aliases stand for too much", n.Line)
	}
	switch {
	case w.err != nil:
	case n.Kind == yaml.DocumentNode:
		w.append(n.Content[0])
	case n.Kind == yaml.AliasNode:
		w.append(n.Alias)
	case n.Kind == yaml.SequenceNode:
		w.text = append(w.text, '[')
		for i, c := range n.Content {
			if i > 0 {
				w.text = append(w.text, ',')
			}
			w.append(c)
		}
		w.text = append(w.text, ']')
	case n.Kind == yaml.MappingNode && !hasMerge(n):
		w.appendMapping(n)
	default:
		var v any
		text, err := []byte(nil), n.Decode(&v)
		if err == nil {
			text, err = json.Marshal(v)
		}
		if err != nil {
			w.err = fmt.Errorf("line %d: %w", n.Line, err)
		}
		w.text = append(w.text, text...)
	}
}

func (w *nodeWriter) appendMapping(n *yaml.Node) {
	seen := map[string]bool{}
	separator := byte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || seen[key.Value] {
			w.err = cmp.Or(w.err, fmt.Errorf("line %d: a key must be one text, and different from the others: %q", key.Line, key.Value))
			return
		}
		seen[key.Value] = true
		w.text = append(appendString(append(w.text, separator), key.Value), ':')
		w.append(n.Content[i+1])
		separator = ','
	}
	if separator == '{' {
		w.text = append(w.text, '{')
	}
	w.text = append(w.text, '}')
}

// hasMerge reports whether a mapping takes others in, which is the library's business.
func hasMerge(n *yaml.Node) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() == "!!merge" {
			return true
		}
	}
	return false
}

// Keys of a job, and of what is in it, whose values, or the elements of whose lists, are texts, however they are written: an argument 1.10 or
// a name 007 is what stands there.
var textKeys = strings.Fields("name command owner ownerName description schedule scheduleTimeZone epsilon executor executorFlags taskInfoData " +
	"runAsUser arguments uris parents constraints value uri image key hostPath containerPath pool")

// Keys whose values are flags. chronos-sync.rb read the words of YAML 1.1, of which yes is one.
var flagKeys = strings.Fields("shell async disabled softError dataProcessingJobType highPriority concurrent executable cache extract forcePullImage")

var oldFlags = map[string]string{"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

// asMeant says of plain scalars which type is meant where YAML would take another one. key is that under which the node stands.
func asMeant(n *yaml.Node, key string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			asMeant(n.Content[i+1], n.Content[i].Value)
		}
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, c := range n.Content {
			asMeant(c, key)
		}
	case yaml.ScalarNode:
		flag, isFlag := oldFlags[strings.ToLower(n.Value)]
		switch tag := n.ShortTag(); {
		case tag == "!!timestamp", slices.Contains(textKeys, key) && tag != "!!null":
			n.Tag = "!!str"
		case isFlag && n.Style == 0 && slices.Contains(flagKeys, key):
			n.Tag, n.Value = "!!bool", flag
		}
	}
}

// yamlOf writes a document of a job in YAML, its keys in their order.
func yamlOf(document []byte) ([]byte, error) {
	node, err := yamlNode(value(document))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func yamlNode(v value) (*yaml.Node, error) {
	node := &yaml.Node{}
	switch {
	case strings.HasPrefix(string(v), "{"):
		node.Kind = yaml.MappingNode
		for _, m := range v.object() {
			key, content := new(yaml.Node), (*yaml.Node)(nil)
			if err := key.Encode(m.key); err != nil {
				return nil, err
			}
			content, err := yamlNode(m.value)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, key, content)
		}
		return node, nil
	case strings.HasPrefix(string(v), "["):
		node.Kind = yaml.SequenceNode
		for _, e := range v.elements() {
			content, err := yamlNode(e)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, content)
		}
		return node, nil
	case v.isString():
		return node, node.Encode(v.text())
	}
	node.Kind, node.Value = yaml.ScalarNode, string(v) // a number, true, false or null is written alike
	return node, nil
}

// fileName is what chronos-sync.rb calls the file of a job, without its extension.
func fileName(job string) string {
	job = job[strings.LastIndexAny(job, `\/`)+1:]
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, job)
}
