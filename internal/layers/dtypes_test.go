package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// dtypeTables are the files with a table of element types, by the format that
// knows them. The encoder and the oracle share nothing with the rest, so that each
// type is written down twice.
var dtypeTables = map[string][]string{
	"safetensors/dtype.go": {"internal/values/types.go", "internal/fixture/encode.go", "internal/oracle/read.go", "internal/oracle/element.go", "internal/oracle/random.go"},
	"gguf/types.go":        {"internal/values/types.go", "internal/fixture/encode.go", "internal/oracle/read.go"},
}

// notDecoded are types without tensors: ggml uses them while it computes, or no
// longer.
var notDecoded = []string{"Q8_1"}

// TestDTypeTables names every table that lacks a type which a format knows.
func TestDTypeTables(t *testing.T) {
	for format, tables := range dtypeTables {
		var types []string
		ast.Inspect(parseFile(t, format), func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Names[0].Name != "dtypes" && spec.Names[0].Name != "tensorTypes" {
				return true
			}
			for _, row := range spec.Values[0].(*ast.CompositeLit).Elts {
				if kv, ok := row.(*ast.KeyValueExpr); ok {
					row = kv.Value
				}
				row := row.(*ast.CompositeLit).Elts
				if size, ok := row[1].(*ast.BasicLit); ok && size.Value == "0" { // given up
					continue
				}
				types = append(types, stringOf(row[0]))
			}
			return false
		})
		if len(types) < 20 {
			t.Errorf("%s: the table has %d types", format, len(types))
		}
		for _, table := range tables {
			known := map[string]bool{}
			ast.Inspect(parseFile(t, table), func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok {
					known[stringOf(lit)] = true
				}
				return true
			})
			for _, name := range types {
				if !known[name] && !slices.Contains(notDecoded, name) {
					t.Errorf("%s does not have %s of %s", table, name, format)
				}
			}
		}
	}
}

func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", filepath.FromSlash(name)), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stringOf returns the value of a string literal, and "" for what is none.
func stringOf(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}
