//go:build !parquet

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// openTables lets parquetProgram take this program's place, with its arguments. It returns
// where that fails, and where the system starts a process only beside another.
func (p *program) openTables(tableOptions) (tableWriter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if p.getenv(callerVariable) != "" {
		return nil, fmt.Errorf("%s was built without the tag parquet; build it with 'go build -tags parquet'", self)
	}
	path := findProgram(parquetProgram, self, p.getenv("PATH"))
	if path == "" {
		return nil, fmt.Errorf("tables of Parquet are written by the program %s, which is neither beside %s nor in PATH: releases have both; 'go install -tags parquet github.com/wtinspect/wtinspect/cmd/wtinspect@latest' makes one program of them, and -f jsonl needs neither",
			parquetProgram, self)
	}
	return nil, p.become(path, append(os.Environ(), callerVariable+"="+thisBuild().source()))
}

// findProgram looks for a program beside another, and then in the directories of a search
// path. A directory that is not named from the root, and the working directory, may belong
// to whoever wrote what is scanned: they are passed over.
func findProgram(name, beside, path string) string {
	dirs := []string{filepath.Dir(beside), filepath.Dir(txn.Resolve(beside))}
	for _, dir := range filepath.SplitList(path) {
		if filepath.IsAbs(dir) && !txn.SameFile(dir, ".") {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found
		}
	}
	return ""
}
