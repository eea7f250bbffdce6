package rename

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// WriteJSON writes a map as JSON, which Parse reads back. All rules are in the long form:
// their order counts, and the members of a JSON object have none for many programs.
func WriteJSON(w io.Writer, m *Map) error {
	var text bytes.Buffer
	if err := write(&text, m, false); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Load(text.Bytes(), &doc); err != nil {
		return err
	}
	var compact strings.Builder
	if err := writeNode(&compact, doc.Content[0]); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(compact.String()), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// writeNode writes a value of YAML that Write has written.
func writeNode(b *strings.Builder, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSONText(b, n.Content[i].Value); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeNode(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeNode(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		switch {
		case (n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool") && json.Valid([]byte(n.Value)):
			b.WriteString(n.Value)
		case n.Kind == yaml.ScalarNode:
			return writeJSONText(b, n.Value)
		default:
			return fmt.Errorf("line %d of the map has no form in JSON", n.Line)
		}
	}
	return nil
}

func writeJSONText(b *strings.Builder, s string) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	b.WriteString(strings.TrimSuffix(text.String(), "\n"))
	return err
}
