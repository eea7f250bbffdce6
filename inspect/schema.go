package inspect

import (
	"embed"
	"path"
	"strings"
)

// schemaFiles are the JSON Schemas, made of the types of this package: a test writes them, and
// holds them up to date.
//
//go:embed schema/v1/*.json
var schemaFiles embed.FS

const (
	schemaDir   = "schema/v1"
	documentEnd = ".json"
	linesEnd    = ".lines.json"
)

// SchemaName is the file name of the schema of a command's answer, such as
// "map list", or with lines of a line of it.
func SchemaName(command string, lines bool) string {
	end := documentEnd
	if lines {
		end = linesEnd
	}
	return strings.ReplaceAll(command, " ", "-") + end
}

// Schema returns the JSON Schema of what a command answers with -f json, or with
// lines that of each line of -f jsonl. It is false for a command that has none.
func Schema(command string, lines bool) ([]byte, bool) {
	data, err := schemaFiles.ReadFile(path.Join(schemaDir, SchemaName(command, lines)))
	return data, err == nil
}

// SchemaCommands lists the commands that have a schema, or with lines those that have
// one of a line.
func SchemaCommands(lines bool) []string {
	entries, err := schemaFiles.ReadDir(schemaDir)
	if err != nil {
		panic(err) // it is embedded
	}
	var out []string
	for _, e := range entries {
		name, isLines := strings.CutSuffix(e.Name(), linesEnd)
		if isLines == lines {
			out = append(out, strings.ReplaceAll(strings.TrimSuffix(name, documentEnd), "-", " "))
		}
	}
	return out
}
