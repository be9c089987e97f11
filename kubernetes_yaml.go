package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads the document that a kubeconfig or a pod is written in. JSON is YAML too. What neither needs is refused: anchors,
// tags, several documents. The library's types for plain texts are not used: 01 and 1.5 stay texts, as nothing here is such a number.
func parseYAML(text string) (any, error) {
	documents := yaml.NewDecoder(strings.NewReader(text))
	var node, another yaml.Node
	switch err := documents.Decode(&node); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("something is not closed, or not indented as it should be: %w", err)
	}
	if err := documents.Decode(&another); !errors.Is(err, io.EOF) {
		return nil, errors.Join(errors.New("there is more than one document"), err)
	}
	return yamlValue(&node)
}

func yamlValue(n *yaml.Node) (any, error) {
	switch {
	case n.Kind == yaml.DocumentNode:
		return yamlValue(n.Content[0])
	case n.Anchor != "" || n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0:
		return nil, fmt.Errorf("line %d: anchors and tags are not read here", n.Line)
	case n.Kind == yaml.MappingNode:
		return yamlMapping(n)
	case n.Kind == yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			item, err := yamlValue(c)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	case n.Style&^yaml.FlowStyle == 0:
		return plainValue(n.Value), nil
	}
	return n.Value, nil
}

func yamlMapping(n *yaml.Node) (any, error) {
	o := jsonObject{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := n.Content[i], n.Content[i+1]
		_, twice := o[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: a key must be a text", key.Line)
		case twice:
			return nil, fmt.Errorf("line %d: %q is there twice", key.Line, key.Value)
		case n.Style&yaml.FlowStyle != 0 && content.Value == "" && content.Tag == "!!null" && strings.Contains(key.Value, " "):
			return nil, fmt.Errorf("line %d: a colon is missing in %q", key.Line, key.Value) // YAML would take all of it for a key
		}
		value, err := yamlValue(content)
		if err != nil {
			return nil, err
		}
		o[key.Value] = value
	}
	return o, nil
}

// plainValue is what a text without quotes stands for.
func plainValue(text string) any {
	switch text {
	case "null", "~", "":
		return nil
	case "true", "false":
		return text == "true"
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return n
	}
	return text
}
