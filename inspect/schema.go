// Package schema has the JSON Schemas of what the program answers with -f json and
// -f jsonl. They are made from the types of package inspect, whose tests keep them up
// to date.
package schema

import (
	"embed"
	"strings"
)

//go:embed v1/*.json
var files embed.FS

const (
	dir         = "v1/"
	documentEnd = ".json"
	linesEnd    = ".lines.json"
)

// FileName is the name, in the directory of the schemas, of the schema of a command's
// answer, "map list", or with lines of a line of it.
func FileName(command string, lines bool) string {
	end := documentEnd
	if lines {
		end = linesEnd
	}
	return strings.ReplaceAll(command, " ", "-") + end
}

// Of returns the schema of what a command answers with -f json, or with lines the
// schema of each line of -f jsonl. It is false for a command that has none.
func Of(command string, lines bool) ([]byte, bool) {
	data, err := files.ReadFile(dir + FileName(command, lines))
	return data, err == nil
}

// Commands lists the commands that have a schema, or with lines those that have one of
// a line.
func Commands(lines bool) []string {
	entries, err := files.ReadDir(strings.TrimSuffix(dir, "/"))
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
