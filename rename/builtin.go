package rename

import (
	"embed"
	"strings"
)

//go:embed maps/*.yaml
var builtinFiles embed.FS

const builtinDir, builtinExt = "maps/", ".yaml"

// Builtins returns the names of the maps that come with the package, sorted.
func Builtins() []string {
	entries, err := builtinFiles.ReadDir(strings.TrimSuffix(builtinDir, "/"))
	if err != nil {
		panic(err) // the directory is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), builtinExt)
	}
	return names
}

// Builtin returns a map that comes with the package. Messages call it by its
// name.
func Builtin(name string) (*Map, bool) {
	source, ok := BuiltinSource(name)
	if !ok {
		return nil, false
	}
	m, err := Parse(name, source)
	if err != nil {
		panic(err) // the map is part of the program
	}
	return m, true
}

// BuiltinSource returns a map that comes with the package as it is written,
// with the sources of its facts in comments.
func BuiltinSource(name string) ([]byte, bool) {
	source, err := builtinFiles.ReadFile(builtinDir + name + builtinExt)
	return source, err == nil
}
