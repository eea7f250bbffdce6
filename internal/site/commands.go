package main

import (
	"fmt"
	"strings"
)

// commandsPage is the page of the help texts. There is no such file.
const commandsPage = "docs/commands.md"

// commandReference returns the page of what --help prints of every command.
func commandReference(texts map[string]string, help func(args ...string) (string, error)) (string, error) {
	var b strings.Builder
	b.WriteString("# Command reference\n\nWhat `--help` prints of every command.\n")
	var add func(words ...string) error
	add = func(words ...string) error {
		text, err := help(append(words, "--help")...)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n## %s\n\n", strings.Join(append([]string{"wtinspect"}, words...), " "))
		// The fence is longer than any that the text has.
		fence := "```"
		for strings.Contains(text, fence) {
			fence += "`"
		}
		fmt.Fprintf(&b, "%stext\n%s\n%s\n", fence, strings.Trim(text, "\n"), fence)
		if len(words) > 0 {
			if page := words[0] + ".md"; texts["docs/"+page] != "" {
				fmt.Fprintf(&b, "\n[More about %s](%s)\n", words[0], page)
			}
		}
		// Cobra prints this where a command has commands, and completes their names.
		if !strings.Contains(text, " [command]") {
			return nil
		}
		list, err := help(append(append([]string{"__complete"}, words...), "")...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(list) {
			name, _, ok := strings.Cut(line, "\t")
			if !ok || name == "help" {
				continue
			}
			if err := add(append(words[:len(words):len(words)], name)...); err != nil {
				return err
			}
		}
		return nil
	}
	err := add()
	return b.String(), err
}
