package inspect

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/infer"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

var update = flag.Bool("update", false, "rewrite schema/")

// What commands answer that no function of this package returns: they put it together
// from the results, and the tests of cmd/wtinspect hold what they print to the schemas.
type (
	identifyAnswer struct {
		// Results are of each checkpoint.
		Results []IdentifyResult `json:"results"`
		Faults  Seq[Fault]       `json:"faults"`
	}

	// The answer with --content-id.
	contentIDAnswer struct {
		Checkpoints []HashedCheckpoint `json:"checkpoints"`
		Faults      Seq[Fault]         `json:"faults"`
	}
	contentIDLine struct {
		Path      string  `json:"path"`
		ContentID *string `json:"content_id"`
	}

	renameAnswer struct {
		// Source is the checkpoint.
		Source string            `json:"source"`
		Format checkpoint.Format `json:"format"`
		// Map is the map that was given, nil where one was derived.
		Map *string `json:"map"`
		// From and To are the conventions that the map names.
		From    *string        `json:"from"`
		To      *string        `json:"to"`
		Summary rename.Summary `json:"summary"`
		// Rules say what became of each rule of the map.
		Rules []rename.Use `json:"rules"`
		// Tensors are those that do not stay as they are.
		Tensors []renameLine `json:"tensors"`
		// Unmatched are the tensors that neither a rule nor strip touches.
		Unmatched []struct {
			Name       string `json:"name"`
			NameBase64 []byte `json:"name_base64,omitempty"`
		} `json:"unmatched"`
		// Transforms say what becomes of the tensors whose bytes change.
		Transforms []rename.Transform `json:"transforms"`
		// Unknown are, with --to, the tensors that the other convention has no name for.
		Unknown []convert.Aside `json:"unknown"`
		// Problems are the reasons for which the plan is refused.
		Problems []rename.Problem `json:"problems"`
		// LeftBehind are tensors that keep their names although their owner is renamed.
		LeftBehind []rename.Finding `json:"left_behind"`
		// Rewrite is what is done to the files, nil when the plan is refused.
		Rewrite *rewrite.Job `json:"rewrite"`
		// Report is what was done, nil when nothing was.
		Report *rewrite.Report `json:"report"`
	}
	renameLine struct {
		From       string `json:"from"`
		FromBase64 []byte `json:"from_base64,omitempty"`
		// To is the new name; nil of a tensor that is dropped or becomes several.
		To       *string `json:"to"`
		ToBase64 []byte  `json:"to_base64,omitempty"`
		Action   string  `json:"action"`
		// Rule is the place of the rule that decided: file:line:col.
		Rule *string `json:"rule"`
		// Reason is why the tensor is dropped.
		Reason *string `json:"reason"`
	}
	// The answer with --recover.
	recoverAnswer struct {
		Path string `json:"path"`
		// Outcome is how the interrupted rewrite was ended.
		Outcome rewrite.Outcome `json:"outcome"`
	}

	convertAnswer struct {
		// Sources are the checkpoints that the new one is made of.
		Sources []string `json:"sources"`
		// Container is the format of the new one.
		Container checkpoint.Format `json:"container"`
		// From and To are the conventions of the old and the new names, nil where they stay.
		From    *string        `json:"from"`
		To      *string        `json:"to"`
		Summary ConvertSummary `json:"summary"`
		// Tensors are those of the new checkpoint.
		Tensors []convertLine `json:"tensors"`
		// LeftOut are the tensors that are chosen, and of which nothing is in the new checkpoint.
		LeftOut []struct {
			Name       string `json:"name"`
			NameBase64 []byte `json:"name_base64,omitempty"`
			Reason     string `json:"reason"`
		} `json:"left_out"`
		Casts []CastSummary `json:"casts"`
		// Operations are what is computed of numbers that may not come back.
		Operations []OperationSummary `json:"operations"`
		// Documents are those beside the weights that are edited or left out.
		Documents []ConvertedDocument `json:"documents"`
		// Missing are documents that a release has, and that cannot be made.
		Missing []string `json:"missing"`
		// Notes are for people.
		Notes []string `json:"notes"`
		// Problems are the reasons for which new names are refused.
		Problems []rename.Problem `json:"problems"`
		// Write is what is written, nil when the conversion is refused.
		Write *assemble.Job `json:"write"`
		// Report is what was done, nil when nothing was.
		Report *rewrite.Report `json:"report"`
	}
	convertLine struct {
		Name       string   `json:"name"`
		NameBase64 []byte   `json:"name_base64,omitempty"`
		DType      string   `json:"dtype"`
		Shape      []uint64 `json:"shape"`
		Bytes      uint64   `json:"bytes"`
		// From is the first tensor that it is made of, of MadeOf, and FromDType its dtype.
		From       string `json:"from"`
		FromBase64 []byte `json:"from_base64,omitempty"`
		MadeOf     uint64 `json:"made_of"`
		FromDType  string `json:"from_dtype"`
		// Done is what is done to them, nil for a copy of the bytes.
		Done *string `json:"done"`
	}

	metaEditAnswer struct {
		// Source is the checkpoint.
		Source   string            `json:"source"`
		Format   checkpoint.Format `json:"format"`
		Metadata []metaEditLine    `json:"metadata"`
		// Rewrite is what is done to the files, nil when that is refused.
		Rewrite *rewrite.Job `json:"rewrite"`
		// Report is what was done, nil when nothing was.
		Report *rewrite.Report `json:"report"`
	}
	metaEditLine struct {
		// File is relative to the directory of the checkpoint, nil where the key is new.
		File       *string `json:"file"`
		FileBase64 []byte  `json:"file_base64,omitempty"`
		Key        string  `json:"key"`
		KeyBase64  []byte  `json:"key_base64,omitempty"`
		Type       string  `json:"type"`
		// Old and New are the values as text, nil where there is none.
		Old       *string `json:"old"`
		OldBase64 []byte  `json:"old_base64,omitempty"`
		New       *string `json:"new"`
		NewBase64 []byte  `json:"new_base64,omitempty"`
	}

	mapListLine struct {
		Name string `json:"name"`
		// Kind is map or convention.
		Kind        string `json:"kind"`
		Description string `json:"description"`
		// To lists what a convention converts to.
		To *string `json:"to"`
	}
	mapLintAnswer struct {
		Findings []mapLintLine `json:"findings"`
	}
	mapLintLine struct {
		// Where is file:line:col.
		Where   string       `json:"where"`
		Level   rename.Level `json:"level"`
		Code    string       `json:"code"`
		Message string       `json:"message"`
		Hint    *string      `json:"hint"`
	}

	mapTestAnswer struct {
		Tests []MapTest `json:"tests"`
		// Faults are of what could not be read, or is broken.
		Faults []Fault `json:"faults"`
	}
	mapTestLine struct {
		// Map is the file or the name of the map.
		Map string `json:"map"`
		// Path is the checkpoint.
		Path    string `json:"path"`
		Tensors int    `json:"tensors"`
		Moved   int    `json:"moved"`
		Dropped int    `json:"dropped"`
		Changed int    `json:"changed"`
		Kept    int    `json:"kept"`
		// Unmatched counts the tensors that neither a rule nor strip touches.
		Unmatched int `json:"unmatched"`
		// Problems counts the reasons for which the map is refused.
		Problems int `json:"problems"`
		// Refused is the first of them.
		Refused *string `json:"refused"`
	}

	rulesAnswer struct {
		Rules []Rule `json:"rules"`
	}
	rulesLine struct {
		ID       string              `json:"id"`
		Severity checkpoint.Severity `json:"severity"`
		// Reads is values or headers.
		Reads string `json:"reads"`
		// Fix is "fix" for a rule whose findings can be fixed.
		Fix   *string `json:"fix"`
		Name  string  `json:"name"`
		Title string  `json:"title"`
	}
	// The lines of scan begin with the name of the table.
	scanReleaseLine struct {
		Table string `json:"table"`
		ScannedRelease
	}
	scanFileLine struct {
		Table string `json:"table"`
		ScannedFile
	}
	scanTensorLine struct {
		Table string `json:"table"`
		ScannedTensor
	}
	scanFindingLine struct {
		Table string `json:"table"`
		ScannedFinding
	}
	scanStatsLine struct {
		Table string `json:"table"`
		ScannedStats
	}
	lockLine struct {
		// Checkpoint is the path of the checkpoint.
		Checkpoint string   `json:"checkpoint"`
		Name       string   `json:"name"`
		DType      string   `json:"dtype"`
		Shape      []uint64 `json:"shape"`
		SHA256     *string  `json:"sha256"`
	}
	versionAnswer struct {
		Version string `json:"version"`
		// Commit is what the program was built from.
		Commit *string `json:"commit"`
		// Modified says that it was not built from the commit alone.
		Modified bool `json:"modified"`
		// Go is the release of Go that built it.
		Go string `json:"go"`
		// Platform is what it runs on: linux/amd64.
		Platform string `json:"platform"`
	}
)

// answers are what each command prints with -f json, and the lines of -f jsonl. Of
// several the flags decide.
var answers = []struct {
	command         string
	documents, line []any
}{
	{"ls", list(ListResult{}), list(Tensor{})},
	{"info", list(InfoResult{}), list(CheckpointInfo{})},
	{"identify", list(identifyAnswer{}), list(IdentifyResult{})},
	{"meta show", list(MetadataResult{}), list(Entry{})},
	{"meta set", list(metaEditAnswer{}), list(metaEditLine{})},
	{"meta unset", list(metaEditAnswer{}), list(metaEditLine{})},
	{"stats", list(StatsResult{}, LayersResult{}), list(TensorStats{}, LayerRow{})},
	{"cat", list(CatResult{}), nil},
	{"hash", list(HashResult{}, ManifestResult{}, contentIDAnswer{}, FilesResult{}), list(TensorHash{}, ManifestEntry{}, contentIDLine{}, FileHash{})},
	{"diff", list(DiffResult{}), list(DiffRow{})},
	{"report", list(ReportResult{}), nil},
	{"rename", list(renameAnswer{}, recoverAnswer{}), list(renameLine{}, recoverAnswer{})},
	{"convert", list(convertAnswer{}), list(convertLine{})},
	{"map show", list(ConventionResult{}), list(ConventionTensor{})},
	{"map list", list(MapsResult{}), list(mapListLine{})},
	{"map lint", list(mapLintAnswer{}), list(mapLintLine{})},
	{"map infer", list(InferMapResult{}), nil},
	{"map test", list(mapTestAnswer{}), list(mapTestLine{})},
	{"check", list(CheckResult{}), list(Finding{})},
	{"rules", list(rulesAnswer{}), list(rulesLine{})},
	{"scan", nil, list(scanReleaseLine{}, scanFileLine{}, scanTensorLine{}, scanFindingLine{}, scanStatsLine{})},
	{"lock", list(LockResult{}), list(lockLine{})},
	{"fix", list(FixResult{}), nil},
	{"version", list(versionAnswer{}), list(versionAnswer{})},
}

func list(v ...any) []any { return v }

// wires are the types that marshal themselves, by way of others.
var wires = [][2]any{
	{Sum{}, (*uint64)(nil)},
	{digest(""), (*string)(nil)},
	{time.Time{}, ""},
	{DTypes{}, map[string]jsonDType{}},
	{Fault{}, jsonFault{}},
	{Tensor{}, jsonTensor{}},
	{Entry{}, jsonEntry{}},
	{TensorStats{}, jsonStats{}},
	{LayerRow{}, jsonLayer{}},
	{CatTensor{}, jsonCat{}},
	{TensorHash{}, jsonHash{}},
	{FileHash{}, jsonFileHash{}},
	{ManifestEntry{}, jsonManifestEntry{}},
	{DiffRow{}, jsonDiffRow{}},
	{ReportedDiffGroup{}, jsonDiffGroup{}},
	{TensorGroup{}, jsonGroup{}},
	{IdentifyResult{}, jsonIdentity{}},
}

// nullable are the lists that are null where they are not known.
var nullable = []string{
	"ConventionTensor.Axes", "ConventionTensor.Shape",
	"jsonName.Shape", "jsonCat.ValuesShape", "jsonStats.Histogram", "jsonDiffRow.ShapeA", "jsonDiffRow.ShapeB",
	"jsonDiffGroup.ShapeA", "jsonDiffGroup.ShapeB", "jsonGroup.Shape",
	"Comparison.Metadata", "Comparison.Config", "jsonIdentity.Dialects", "jsonIdentity.Families", "Part.Families",
	"ScannedTensor.Shape",
}

const (
	hex64     = "^[0-9a-f]{64}$"
	hex16     = "^[0-9a-f]{16}$"
	ruleID    = "^WT[0-9]{3}$"
	directory = "https://raw.githubusercontent.com/wtinspect/wtinspect/main/inspect/schema/v%d/%s"
)

// objects are members that are marshalled beforehand.
var objects = map[string]*jsonschema.Schema{
	"Checkpoint.Metadata":      {Types: []string{"object", "null"}},
	"Checkpoint.MetadataTypes": {Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "string"}},
	"File.Metadata":            {Type: "object"},
	"jsonCat.Values":           {},
}

// patterns are of texts that have one form.
var patterns = map[string]string{
	"Finding.Rule": ruleID, "Declined.Rule": ruleID, "Rule.ID": ruleID, "rulesLine.ID": ruleID,
	"jsonHash.SHA256": hex64, "jsonHash.XXH64": hex16, "HashedCheckpoint.ContentID": hex64, "contentIDLine.ContentID": hex64,
	"ScannedFinding.Rule": ruleID, "ScannedTensor.Digest": hex64,
	"LockedTensor.SHA256": hex64, "lockLine.SHA256": hex64,
}

// A schemas makes schemas of types.
type schemas struct {
	t     *testing.T
	known map[reflect.Type]*jsonschema.Schema
	words map[string][]any // the closed sets that members are of
	docs  map[string]*packageDocs
	used  map[string]bool // of nullable, patterns and words
}

func newSchemas(t *testing.T) *schemas {
	s := &schemas{t: t, known: map[reflect.Type]*jsonschema.Schema{}, docs: map[string]*packageDocs{}, used: map[string]bool{}}
	var severities []any
	for v := checkpoint.Info; v <= checkpoint.Error; v++ {
		severities = append(severities, v.String())
	}
	var actions []any
	for a := rename.Move; a <= rename.Change; a++ { // what stays as it is is not listed
		actions = append(actions, a.String())
	}
	verdicts := slices.DeleteFunc(s.constants(compare.Verdict("")), func(v any) bool { return v == "" })
	statuses := s.constants(compare.Status(""))
	for i, v := range statuses {
		statuses[i] = strings.ReplaceAll(v.(string), "-", "_")
	}
	s.words = map[string][]any{
		"jsonDiffRow.By":              s.constants(compare.Evidence("")),
		"jsonDiffRow.Rounded":         {EqualValues, RoundedB, RoundedA},
		"jsonFault.Severity":          severities,
		"ScannedFinding.Severity":     severities,
		"CheckSummary.FailOn":         append(slices.Clone(severities), never),
		"renameLine.Action":           actions,
		"Proof.Method":                s.constants(rewrite.Proof{}, "Proof"),
		"ConversionTarget.By":         s.constants(convert.Derivation{}, "By"),
		"jsonManifestEntry.Status":    s.constants(ManifestEntry{}, "Manifest"),
		"CheckpointInfo.Kind":         s.constants(identify.Result{}, "Kind"),
		"jsonIdentity.Kind":           s.constants(identify.Result{}, "Kind"),
		"Part.Kind":                   s.constants(identify.Result{}, "Kind"),
		"CheckpointInfo.ByteOrder":    {littleEndian, bigEndian},
		"mapListLine.Kind":            {"map", "convention"},
		"rulesLine.Reads":             {"values", "headers"},
		"rulesLine.Fix":               {"fix"},
		"jsonManifestEntry.Algorithm": {SHA256, XXH64, ContentID},
	}
	enum := func(v any, words []any) { s.known[reflect.TypeOf(v)] = &jsonschema.Schema{Type: "string", Enum: words} }
	enum(checkpoint.Severity(0), severities)
	enum(checkpoint.Format(""), s.constants(checkpoint.Format("")))
	enum(rewrite.Step(""), s.constants(rewrite.Step("")))
	enum(rewrite.Outcome(""), s.constants(txn.Outcome("")))
	enum(rename.ProblemKind(""), s.constants(rename.ProblemKind("")))
	enum(rename.Level(""), s.constants(rename.Level("")))
	enum(tensorop.Kind(""), s.constants(tensorop.Kind("")))
	enum(DiffStatus(""), statuses)
	enum(infer.Class(""), s.constants(infer.Class("")))
	s.known[reflect.TypeFor[DiffVerdict]()] = &jsonschema.Schema{Types: []string{"string", "null"}, Enum: append(verdicts, nil)}
	s.known[reflect.TypeFor[[]byte]()] = &jsonschema.Schema{Type: "string", ContentEncoding: "base64", Description: "The bytes, which are not UTF-8."}
	s.known[reflect.TypeFor[json.RawMessage]()] = &jsonschema.Schema{}
	s.known[reflect.TypeFor[figure]()] = &jsonschema.Schema{Types: []string{"number", "string"}, Pattern: "^(NaN|-?Infinity)$"}
	for f := range reflect.TypeFor[ScannedStats]().Fields() {
		if f.Type == reflect.TypeFor[*float64]() { // as jsonStats has them, and tables as numbers
			objects["ScannedStats."+f.Name] = &jsonschema.Schema{Types: []string{"number", "string", "null"}, Pattern: "^(NaN|-?Infinity)$"}
		}
	}
	for _, w := range wires {
		s.known[reflect.TypeOf(w[0])] = s.of(reflect.TypeOf(w[1]))
	}
	seq(s, Checkpoint{})
	seq(s, Tensor{})
	seq(s, Fault{})
	seq(s, Entry{})
	seq(s, DiffRow{})
	seq(s, LayerRow{})
	seq(s, TensorGroup{})
	seq(s, ReportedDiffGroup{})
	return s
}

// seq makes the list of a type known.
func seq[T any](s *schemas, v T) {
	s.known[reflect.TypeFor[Seq[T]]()] = &jsonschema.Schema{Type: "array", Items: s.of(reflect.TypeFor[T]())}
}

// of returns the schema of a type.
func (s *schemas) of(t reflect.Type) *jsonschema.Schema {
	out, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: s.known})
	if err != nil {
		s.t.Fatal(err)
	}
	s.annotate(t, out)
	return out
}

// annotate adds to the schema of a type what reflection does not know.
func (s *schemas) annotate(t reflect.Type, to *jsonschema.Schema) {
	if s.known[t] != nil {
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		s.annotate(t.Elem(), to)
	case reflect.Slice:
		s.annotate(t.Elem(), to.Items)
	case reflect.Map:
		s.annotate(t.Elem(), to.AdditionalProperties)
	case reflect.Struct:
		s.members(t, to)
	}
}

func (s *schemas) members(t reflect.Type, to *jsonschema.Schema) {
	to.AdditionalProperties = nil // keys are added over time
	keys := make(map[string]string)
	for _, f := range reflect.VisibleFields(t) {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" && key != "-" {
			keys[f.Name] = key
		}
	}
	for _, f := range reflect.VisibleFields(t) {
		key := keys[f.Name]
		if key == "" {
			continue
		}
		owner := t
		for _, i := range f.Index[:len(f.Index)-1] {
			owner = owner.Field(i).Type
		}
		p, name := to.Properties[key], owner.Name()+"."+f.Name
		s.annotate(f.Type, p)
		if o := objects[name]; o != nil {
			*p = *o
		}
		if words := s.words[name]; words != nil {
			s.used[name] = true
			p.Enum = slices.Clone(words)
		}
		if pattern := patterns[name]; pattern != "" {
			s.used[name] = true
			p.Pattern = pattern
		}
		if slices.Contains(nullable, name) {
			s.used[name] = true
		} else if f.Type.Kind() == reflect.Slice && p.Type == "" && s.known[f.Type] == nil {
			p.Type, p.Types = "array", nil
		}
		if i := slices.Index(p.Types, "null"); i == 0 {
			p.Types = append(slices.Clone(p.Types[1:]), "null")
			if p.Enum != nil && !slices.Contains(p.Enum, any(nil)) {
				p.Enum = append(slices.Clone(p.Enum), nil)
			}
		}
		if text := s.source(owner).comments[name]; text != "" {
			p.Description = description(f.Name, text, keys)
		} else if of := base(f.Type); p.Description == "" && of.PkgPath() != "" {
			p.Description = description(of.Name(), s.source(of).comments[of.Name()], nil)
		}
	}
}

// base is what a type has one or several of.
func base(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// description writes the comment of a field or a type for those who know the keys in
// JSON.
func description(name, text string, keys map[string]string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = regexp.MustCompile(`^(An? )?`+name+` (is|are) |^An? `+name+` `).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\bnil\b`).ReplaceAllString(text, "null")
	text = regexp.MustCompile(`\[([A-Z][A-Za-z.]*)\]`).ReplaceAllString(text, "$1")
	text = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`).ReplaceAllStringFunc(text, func(word string) string {
		if key := keys[word]; key != "" && !slices.Contains([]string{"A", "B", "NaN", "Go"}, word) {
			return "`" + key + "`"
		}
		return word
	})
	if text == "" {
		return ""
	}
	_, n := utf8.DecodeRuneInString(text)
	return strings.ToUpper(text[:n]) + strings.TrimSuffix(text[n:], ".") + "."
}

// packageDocs are the comments of a package's types, and its constants.
type packageDocs struct {
	comments  map[string]string // of Type and of Type.Field
	constants []*types.Const
}

func (s *schemas) source(t reflect.Type) *packageDocs {
	p := t.PkgPath()
	if s.docs[p] != nil {
		return s.docs[p]
	}
	out := &packageDocs{comments: map[string]string{}}
	s.docs[p] = out
	dir := filepath.Join("..", filepath.FromSlash(strings.TrimPrefix(p, "github.com/wtinspect/wtinspect")))
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		s.t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") && filepath.Base(name) != "schema_test.go" {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			s.t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			d, ok := n.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				return true
			}
			for _, spec := range d.Specs {
				t := spec.(*ast.TypeSpec)
				if len(d.Specs) == 1 {
					out.comments[t.Name.Name] = d.Doc.Text()
				}
				if fields, ok := t.Type.(*ast.StructType); ok {
					out.add(t.Name.Name, fields)
				}
			}
			return true
		})
	}
	// Constants that are made of those of other packages are left out.
	conf := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := conf.Check(path.Base(p), fset, files, nil)
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && c.Val().Kind() == constant.String {
			out.constants = append(out.constants, c)
		}
	}
	slices.SortFunc(out.constants, func(a, b *types.Const) int { return int(a.Pos() - b.Pos()) })
	return out
}

type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not looked into", path)
}

// add takes in the comments of a struct. A comment that names several fields is that of
// those below it, too.
func (d *packageDocs) add(name string, t *ast.StructType) {
	last := ""
	for _, f := range t.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, id := range f.Names {
			switch {
			case text != "":
				d.comments[name+"."+id.Name] = text
			case regexp.MustCompile(`\b` + id.Name + `\b`).MatchString(last):
				d.comments[name+"."+id.Name] = last
			}
		}
		if text != "" {
			last = text
		}
	}
}

// constants returns the strings that are of a type, or, with the beginning of their names,
// those of its package.
func (s *schemas) constants(of any, prefix ...string) []any {
	t := reflect.TypeOf(of)
	var out []any
	for _, c := range s.source(t).constants {
		named, ok := c.Type().(*types.Named)
		if len(prefix) > 0 && strings.HasPrefix(c.Name(), prefix[0]) && !ok || len(prefix) == 0 && ok && named.Obj().Name() == t.Name() {
			out = append(out, constant.StringVal(c.Val()))
		}
	}
	if len(out) == 0 {
		s.t.Fatalf("no constants of %v %v", t, prefix)
	}
	return out
}

// document is the schema of an answer, or of a line of it.
func (s *schemas) document(lines bool, alternatives []any) *jsonschema.Schema {
	var forms []*jsonschema.Schema
	for _, a := range alternatives {
		t := reflect.TypeOf(a)
		one := s.of(t)
		if !lines && t != reflect.TypeFor[LockResult]() { // a lock is a file with a version of its own
			version := any(render.SchemaVersion)
			one.Properties["schema_version"] = &jsonschema.Schema{Const: &version}
			one.PropertyOrder = append([]string{"schema_version"}, one.PropertyOrder...)
			one.Required = append([]string{"schema_version"}, one.Required...)
		}
		forms = append(forms, one)
	}
	if len(forms) > 1 {
		return &jsonschema.Schema{AnyOf: forms}
	}
	return forms[0]
}

// The schemas are those of the types that are marshalled.
func TestSchemas(t *testing.T) {
	s := newSchemas(t)
	dir := filepath.Join("schema", fmt.Sprintf("v%d", render.SchemaVersion))
	var names []string
	write := func(command string, lines bool, alternatives []any) {
		if alternatives == nil {
			return
		}
		body, err := json.MarshalIndent(s.document(lines, alternatives), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		form := "json"
		if lines {
			form = "jsonl"
		}
		// What says which schema it is comes first.
		text := fmt.Sprintf("{\n  \"$schema\": %q,\n  \"$id\": %q,\n  \"title\": %q,%s",
			"https://json-schema.org/draft/2020-12/schema", fmt.Sprintf(directory, render.SchemaVersion, SchemaName(command, lines)),
			fmt.Sprintf("wtinspect %s -f %s", command, form), body[1:])
		name := filepath.Join(dir, SchemaName(command, lines))
		names = append(names, name)
		testdata.UpToDate(t, name, text+"\n", *update)
	}
	for _, a := range answers {
		write(a.command, false, a.documents)
		write(a.command, true, a.line)
	}
	there, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		if !slices.Contains(names, name) {
			t.Errorf("%s is of no command", name)
		}
	}
	for _, name := range slices.Concat(nullable, slices.Collect(maps.Keys(patterns)), slices.Collect(maps.Keys(s.words))) {
		if !s.used[name] {
			t.Errorf("no member is %s", name)
		}
	}
}
