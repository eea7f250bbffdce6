package render

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                          `""`,
		"model.layers.0.w":          "model.layers.0.w",
		"a b":                       "a b",
		"\x1b[2J":                   `\x1b[2J`,
		"0123456\x7f":               `0123456\x7f`,
		`C:\w`:                      `C:\\w`,
		"a\nb\t\"":                  `a\nb\t"`,
		"\xff\xc0x":                 `\xff\xc0x`,
		"é漢":                        "é漢",
		"\u202egpj.\u2066\u200b":    `\u202egpj.\u2066\u200b`,
		"\u009b31m\u2028\U000e0001": `\u009b31m\u2028\U000e0001`,
		"nbsp\u00a0":                `nbsp\u00a0`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestEscapeMessage(t *testing.T) {
	got := EscapeMessage("C:\\x\x1b.gguf: \"a\\x1b\"\\")
	if want := `C:\x\x1b.gguf: "a\x1b"\`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// anyText draws bytes of every kind, not only valid text.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.StringMatching(`[a-z.0-9_\\"\t\n,]{0,40}`),
	)
}

func TestEscapeIsReversibleAndPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Filter(func(s string) bool { return s != "" }).Draw(t, "s")
		got := Escape(s)
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q is shown with %U", s, r)
			}
		}
		back, err := strconv.Unquote(`"` + strings.ReplaceAll(got, `"`, `\"`) + `"`)
		if err != nil || back != s {
			t.Fatalf("%q reads back as %q, %v", got, back, err)
		}
	})
}

func TestAppendJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "s")
		enc := AppendJSON(nil, s)
		var back string
		if err := json.Unmarshal(enc, &back); err != nil {
			t.Fatalf("%s: %v", enc, err)
		}
		want := s
		if !utf8.ValidString(s) {
			b, _ := json.Marshal(s)
			_ = json.Unmarshal(b, &want)
		}
		if back != want {
			t.Fatalf("%q came back as %q", want, back)
		}
		for _, r := range string(enc) {
			if !strconv.IsPrint(r) {
				t.Fatalf("%s has %U", enc, r)
			}
		}
		viaMarshal, err := Marshal(map[string]string{"k": s})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range string(viaMarshal) {
			if !strconv.IsPrint(r) {
				t.Fatalf("%s has %U", viaMarshal, r)
			}
		}
	})
}

// A name that is shortened keeps its numbers, as long as there is room for anything else.
func TestShortenName(t *testing.T) {
	const name = "model.layers.12.self_attn.v_proj.weight"
	for _, tt := range []struct {
		name  string
		width int
		want  string
	}{
		{name, 39, name},
		{name, 38, "…del.layers.12.self_attn.v_proj.weight"},
		{name, 27, "…12.self_attn.v_proj.weight"},
		{name, 20, "…12.self_a…oj.weight"},
		{"model.layers.3.mlp.experts.17.gate_proj.weight", 28, "…3…perts.17.gate_proj.weight"},
		{"model.norm.weight", 12, "mode….weight"},
		{"層.12.重みの名前です", 14, "…12.重…前です"},
		{"1.2.3.4.5.6.7.8.9", 8, "1.2….8.9"},
		{"12345", 3, "…45"},
		{"a1", 1, "…"},
	} {
		if got := ShortenName(tt.name, tt.width); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.name, tt.width, got, tt.want)
		}
		for width := range 60 {
			if got := ShortenName(tt.name, width); width > 0 && DisplayWidth(got) > width {
				t.Errorf("%q in %d: %q", tt.name, width, got)
			}
		}
	}
}

// What people read of a number is not what machines read, nor what rows are sorted by.
func TestOrdered(t *testing.T) {
	columns := Columns[float64]{{Key: "n", Title: "N", Cell: func(c *Cell, f float64) { c.Ordered("x"+strconv.FormatFloat(f, 'g', 2, 64), f) }}}
	table := func() *Table { return columns.Table(slices.Values([]float64{12.345, math.Inf(1), math.NaN()})) }
	var b strings.Builder
	if err := table().Write(&b, JSONL, Style{}); err != nil {
		t.Fatal(err)
	}
	if want := "{\"n\":12.345}\n{\"n\":\"Infinity\"}\n{\"n\":null}\n"; b.String() != want {
		t.Errorf("JSON lines are %q, want %q", &b, want)
	}
	_, rows := table().Texts()
	var texts []string
	for row := range rows {
		text := row[0].Text
		if n := row[0].Number; n != nil {
			text += fmt.Sprint(" ", *n)
		}
		texts = append(texts, text)
	}
	if want := []string{"x12 12.345", "x+Inf +Inf", "-"}; !slices.Equal(texts, want) {
		t.Errorf("texts are %q, want %q", texts, want)
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10 << 10: "10.0 KiB", 98 << 20: "98.0 MiB",
		1<<20 - 1: "1.00 MiB", 1023 << 10: "1023 KiB", 68777834496: "64.1 GiB", math.MaxUint64: "16.0 EiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1.00 K", 999_499: "999 K", 999_600: "1.00 M",
		34388917248: "34.4 B", 671e9: "671 B", 2e12: "2.00 T", math.MaxUint64: "18.4e18",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Grouped(n); got != want {
			t.Errorf("Grouped(%d) = %q, want %q", n, got, want)
		}
	}
}

func sample() *Table {
	return tableOf(OnTerminal, []Column{
		{Key: "checkpoint"},
		{Key: "name", Title: "NAME", Cut: Whole},
		{Key: "dtype", Title: "DTYPE"},
		{Key: "shape", Title: "SHAPE"},
		{Key: "bytes", Title: "SIZE", Right: true},
		{Key: "mean"},
		{Key: "flag"},
		{Key: "delta"},
		{Title: "COUNT", Right: true},
		{Key: "value", Title: "VALUE", Cut: Sentence},
	},
		slices.Values([][]Cell{
			{Uint(0), Text("model.norm.weight").In(Red), Text("BF16"), Shape([]uint64{7168}), Bytes(14336), Float(0.5), Bool(true), Int(-3), Text("x1"), Value("v", `{"k":1}`)},
			{Uint(1), Text("a\t\xff\"\x1b"), Null(), Shape(nil), Null(), Float(math.NaN()), Bool(false), Int(4), Text("x60"), Text("two\nlines, and more")},
			{Uint(math.MaxUint64), Text("model.layers.0.漢字.weight"), Text("F32"), Shape([]uint64{2, 3}), Bytes(24), Float(math.Inf(-1)), Null(), Null(), Text(""), Text("")},
			{Null(), Text("s"), Text("F32"), Shape([]uint64{}), Bytes(4), Float(1e300), Null(), Null(), Null(), Null()},
		}))
}

func TestTable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		format Format
		style  Style
		want   string
	}{
		{"piped", TableFormat, Style{}, `
model.norm.weight           BF16  [7168]  14336   x1  v
a\t\xff"\x1b                -     -           -  x60  two\nlines, and more
model.layers.0.漢字.weight  F32   [2,3]      24   ""  ""
s                           F32   []          4    -  -
`},
		{"terminal", TableFormat, Style{Terminal: true, Width: 200}, `
NAME                        DTYPE  SHAPE       SIZE  COUNT  VALUE
model.norm.weight           BF16   [7168]  14.0 KiB     x1  v
a\t\xff"\x1b                -      -              -    x60  two\nlines, and more
model.layers.0.漢字.weight  F32    [2,3]       24 B     ""  ""
s                           F32    []           4 B      -  -
`},
		{"narrow", TableFormat, Style{Terminal: true, Width: 64}, `
NAME                       DTYPE  SHAPE       SIZE  COUNT  VALUE
model.norm.weight          BF16   [7168]  14.0 KiB     x1  v
a\t\xff"\x1b               -      -              -    x60
    two\nlines, and more
model.layers.0.漢字.weight
                           F32    [2,3]       24 B     ""  ""
s                          F32    []           4 B      -  -
`},
		{"very narrow", TableFormat, Style{Terminal: true, Width: 48}, `
NAME              DTYPE  SHAPE       SIZE  COUNT
    VALUE
model.norm.weight
                  BF16   [7168]  14.0 KiB     x1
    v
a\t\xff"\x1b      -      -              -    x60
    two\nlines, and more
model.layers.0.漢字.weight
                  F32    [2,3]       24 B     ""
    ""
s                 F32    []           4 B      -
`},
		{"stacked", TableFormat, Style{Terminal: true, Width: 30}, `
NAME
    DTYPE  SHAPE       SIZE
    COUNT
    VALUE
model.norm.weight
    BF16   [7168]  14.0 KiB
       x1
    v
a\t\xff"\x1b
    -      -              -
      x60
    two\nlines, and more
model.layers.0.漢字.weight
    F32    [2,3]       24 B
       ""
    ""
s
    F32    []           4 B
        -
`},
		{"csv", CSV, Style{}, `
checkpoint,name,dtype,shape,bytes,mean,flag,delta,value
0,model.norm.weight,BF16,[7168],14336,0.5,true,-3,v
1,"a` + "\t\xff" + `""` + "\x1b" + `",,,,NaN,false,4,"two
lines, and more"
18446744073709551615,model.layers.0.漢字.weight,F32,"[2,3]",24,-Infinity,,,
,s,F32,[],4,1e+300,,,
`},
		{"tsv", TSV, Style{}, strings.ReplaceAll(`
checkpoint|name|dtype|shape|bytes|mean|flag|delta|value
0|model.norm.weight|BF16|[7168]|14336|0.5|true|-3|v
1|a\t`+"\xff\"\x1b"+`||||NaN|false|4|two\nlines, and more
18446744073709551615|model.layers.0.漢字.weight|F32|[2,3]|24|-Infinity|||
|s|F32|[]|4|1e+300|||
`, "|", "\t")},
		{"jsonl", JSONL, Style{}, `
{"checkpoint":0,"name":"model.norm.weight","dtype":"BF16","shape":[7168],"bytes":14336,"mean":0.5,"flag":true,"delta":-3,"value":{"k":1}}
{"checkpoint":1,"name":"a\t\ufffd\"\u001b","name_base64":"Yf8iGw==","dtype":null,"shape":null,"bytes":null,"mean":"NaN","flag":false,"delta":4,"value":"two\nlines, and more"}
{"checkpoint":18446744073709551615,"name":"model.layers.0.漢字.weight","dtype":"F32","shape":[2,3],"bytes":24,"mean":"-Infinity","flag":null,"delta":null,"value":""}
{"checkpoint":null,"name":"s","dtype":"F32","shape":[],"bytes":4,"mean":1e+300,"flag":null,"delta":null,"value":null}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := sample().Write(&b, tt.format, tt.style); err != nil {
				t.Fatal(err)
			}
			want := strings.TrimPrefix(tt.want, "\n")
			if tt.name == "jsonl" {
				want = strings.ReplaceAll(want, "Yf8iGw==", base64.StdEncoding.EncodeToString([]byte("a\t\xff\"\x1b")))
			}
			if b.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
			}
		})
	}
}

// Typed rows are written as others are, and a form computes the columns that it
// shows, and no other.
func TestTypedRows(t *testing.T) {
	var called []string
	column := func(key, title string, cell func(c *Cell, n int)) Col[int] {
		return Col[int]{Key: key, Title: title, Cell: func(c *Cell, n int) {
			called = append(called, cmp.Or(key, title))
			cell(c, n)
		}}
	}
	table := Columns[int]{
		column("n", "N", func(c *Cell, n int) { c.Int(int64(n)) }),
		column("odd", "", func(c *Cell, n int) {
			if n%2 == 1 {
				c.Text("odd")
				c.Color(Red)
			}
		}),
		column("", "HALF", func(c *Cell, n int) { c.Figure(float64(n) / 2) }),
		{},
		column("size", "SIZE", func(c *Cell, n int) { c.Number(uint64(1000 * n)) }),
		column("nan", "", func(c *Cell, _ int) { c.Figure(math.NaN()) }),
		column("value", "", func(c *Cell, n int) { c.Value("v", strconv.Itoa(n)) }),
		column("error", "", func(c *Cell, n int) {
			if n == 2 {
				c.Error(errors.New("broken"))
			}
		}),
	}.Table(slices.Values([]int{1, 2}))
	for _, tt := range []struct {
		format         Format
		terminal       bool
		want, computed string
	}{
		{TableFormat, false, "1  0.5  1000\n2  1    2000\n", "n HALF size"},
		{TableFormat, true, "N  HALF  SIZE\n1  0.5   1,000\n2  1     2,000\n", "n HALF size"},
		{CSV, false, "n,odd,size,nan,value,error\n1,odd,1000,,v,\n2,,2000,,v,broken\n", "n odd size nan value error"},
		{
			JSONL, false,
			`{"n":1,"odd":"odd","size":1000,"nan":null,"value":1,"error":null}` + "\n" + `{"n":2,"odd":null,"size":2000,"nan":null,"value":2,"error":"broken"}` + "\n",
			"n odd size nan value error",
		},
	} {
		called = nil
		var b strings.Builder
		if err := table.Write(&b, tt.format, Style{Terminal: tt.terminal}); err != nil {
			t.Fatal(err)
		}
		if b.String() != tt.want {
			t.Errorf("%s, terminal %v: got:\n%s\nwant:\n%s", tt.format, tt.terminal, b.String(), tt.want)
		}
		if got := strings.Join(called[:len(called)/2], " "); got != tt.computed {
			t.Errorf("%s computed %s, want %s", tt.format, got, tt.computed)
		}
	}
}

// A long table is laid out in blocks: the columns grow, and no row is lost.
func TestBlocks(t *testing.T) {
	const rows, wide = 3*blockRows + 7, 2 * blockRows
	table := tableOf(OnTerminal, []Column{{Title: "N"}, {Title: "M", Right: true}}, func(yield func([]Cell) bool) {
		for i := range uint64(rows) {
			name := Text("n")
			if i == wide {
				name = Text("a wide one")
			}
			if !yield([]Cell{name, Uint(i)}) {
				return
			}
		}
	})
	var b strings.Builder
	if err := table.Write(&b, TableFormat, Style{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != rows {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range map[int]string{
		0:        fmt.Sprintf("n  %*d", len(strconv.Itoa(blockRows-1)), 0),
		wide - 1: fmt.Sprintf("n  %d", wide-1),
		wide:     fmt.Sprintf("a wide one  %d", wide),
		rows - 1: fmt.Sprintf("n           %d", rows-1),
	} {
		if lines[i] != want {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
}

// What is laid out at once is laid out as all else is, up to the first cell
// that is not printable ASCII and from there on.
func TestEvenRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := make([]Column, rapid.IntRange(1, 4).Draw(t, "columns"))
		for i := range columns {
			columns[i] = Column{Title: "T", Right: rapid.Bool().Draw(t, "right")}
		}
		// A few rows again and again, and then others, over the ends of blocks.
		cell := rapid.OneOf(
			rapid.Map(rapid.StringMatching("[a-z .]{1,20}"), Text),
			rapid.Map(rapid.Uint64(), Uint),
			rapid.Just(Null()),
			// They have one place in a memo, or differ in one thing.
			rapid.SampledFrom([]Cell{
				Shape([]uint64{}), Shape([]uint64{0}), Shape([]uint64{0, 0}), Shape([]uint64{3}), Shape([]uint64{3, 0}),
				Shape([]uint64{0, 3}), Shape([]uint64{math.MaxUint64, math.MaxUint64}), Shape([]uint64{3, 0, 0}), Uint(3), Uint(0),
			}),
		)
		odd := rapid.SampledFrom([]Cell{Text("\u6f22"), Text(""), Text("\x1b"), Text(strings.Repeat("w", mostAligned+1))})
		var rows [][]Cell
		for range rapid.IntRange(1, 4).Draw(t, "parts") {
			part := rapid.SliceOfN(rapid.SliceOfN(cell, len(columns), len(columns)), 1, 4).Draw(t, "part")
			for i := range rapid.SampledFrom([]int{1, 7, blockRows - 1, blockRows, 12 * blockRows}).Draw(t, "rows") {
				rows = append(rows, part[i%len(part)])
			}
			if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
				rows[len(rows)-1] = slices.Clone(rows[len(rows)-1])
				rows[len(rows)-1][rapid.IntRange(0, len(columns)-1).Draw(t, "column")] = odd.Draw(t, "cell")
			}
		}
		table := tableOf(Never, columns, slices.Values(rows))
		var even, general strings.Builder
		if err := table.Write(&even, TableFormat, Style{}); err != nil {
			t.Fatal(err)
		}
		if err := table.Write(&general, TableFormat, Style{Terminal: true}); err != nil {
			t.Fatal(err)
		}
		if even.String() != general.String() {
			t.Fatalf("got:\n%s\nwant:\n%s", &even, &general)
		}
	})
}

// One cell that is far too wide does not make all rows so.
func TestWideCell(t *testing.T) {
	name := strings.Repeat("n", 1<<20)
	table := tableOf(OnTerminal, []Column{{Title: "N", Cut: Whole}, {Title: "M"}}, func(yield func([]Cell) bool) {
		for range 1000 {
			if !yield([]Cell{Text("a"), Uint(1)}) {
				return
			}
		}
		yield([]Cell{Text(name), Uint(2)})
	})
	for _, s := range []Style{{}, {Terminal: true}, {Terminal: true, Width: 80}} {
		var b strings.Builder
		if err := table.Write(&b, TableFormat, s); err != nil {
			t.Fatal(err)
		}
		if b.Len() > len(name)+1100*(mostAligned+10) {
			t.Errorf("%+v: %d bytes", s, b.Len())
		}
		if !s.Terminal && !strings.HasSuffix(b.String(), "\n"+name+"  2\n") {
			t.Error("the name is cut in a pipe")
		}
	}
}

func TestColors(t *testing.T) {
	table := tableOf(OnTerminal, []Column{{Title: "A"}, {Title: "B"}}, slices.Values([][]Cell{{Text("x").In(Red), Null()}}))
	var b strings.Builder
	if err := table.Write(&b, TableFormat, Style{Terminal: true, Color: true}); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[31mx\x1b[0m  -\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestHeadings(t *testing.T) {
	for _, tt := range []struct {
		headings Headings
		style    Style
		want     string
	}{
		{OnTerminal, Style{}, "x  y\n"},
		{OnTerminal, Style{Terminal: true}, "TITLE  B\nx      y\n"},
		{Always, Style{}, "TITLE  B\nx      y\n"},
		{Never, Style{Terminal: true, Width: 80}, "x  y\n"},
	} {
		table := tableOf(tt.headings, []Column{{Title: "TITLE"}, {Title: "B"}}, slices.Values([][]Cell{{Text("x"), Text("y")}}))
		var b strings.Builder
		if err := table.Write(&b, TableFormat, tt.style); err != nil {
			t.Fatal(err)
		}
		if b.String() != tt.want {
			t.Errorf("%v %+v: got %q, want %q", tt.headings, tt.style, b.String(), tt.want)
		}
	}
}

func TestDocument(t *testing.T) {
	var b strings.Builder
	d := NewDocument(&b)
	d.Field("totals", struct {
		Tensors int `json:"tensors"`
	}{3})
	List(d, "faults", []string{"<a>", "\u202e"})
	List(d, "none", []string(nil))
	d.Rows("tensors", tableOf(OnTerminal, []Column{{Key: "n"}, {Title: "N"}}, slices.Values([][]Cell{{Uint(1), Uint(2)}, {Null(), Null()}})))
	d.Rows("empty", tableOf(OnTerminal, nil, slices.Values([][]Cell(nil))))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"schema_version":1,
 "totals":{"tensors":3},
 "faults":[
  "<a>",
  "\u202e"],
 "none":[],
 "tensors":[
  {"n":1},
  {"n":null}],
 "empty":[]}
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// Whatever a cell holds, each format's own reader gives it back. A table is one
// printable line per row; on a terminal its lines fit, and a name is whole.
func TestFormatsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, note := anyText().Draw(t, "name"), anyText().Draw(t, "note")
		n := rapid.Uint64().Draw(t, "n")
		table := tableOf(OnTerminal, []Column{{Key: "name", Title: "NAME", Cut: Whole}, {Key: "n", Title: "N"}, {Key: "note", Title: "NOTE", Cut: Sentence}},
			slices.Values([][]Cell{{Text(name), Bytes(n), Text(note)}}))
		write := func(f Format, s Style) string {
			var b strings.Builder
			if err := table.Write(&b, f, s); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}

		var row struct {
			Name   string
			N      uint64
			Note   string
			Base64 []byte `json:"name_base64"`
		}
		if err := json.Unmarshal([]byte(write(JSONL, Style{})), &row); err != nil {
			t.Fatal(err)
		}
		if row.N != n || (utf8.ValidString(name) && row.Name != name) || (!utf8.ValidString(name) && string(row.Base64) != name) {
			t.Fatalf("jsonl: %+v", row)
		}

		// The reader of the standard library drops a carriage return before a
		// newline, quoted or not.
		if !strings.Contains(name+note, "\r") {
			records, err := csv.NewReader(strings.NewReader(write(CSV, Style{}))).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := records[1], []string{name, strconv.FormatUint(n, 10), note}; !slices.Equal(got, want) {
				t.Fatalf("csv: %q, want %q", got, want)
			}
		}

		lines := strings.Split(write(TSV, Style{}), "\n")
		fields := strings.Split(lines[1], "\t")
		unescape := strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r")
		if len(lines) != 3 || len(fields) != 3 || unescape.Replace(fields[0]) != name || unescape.Replace(fields[2]) != note {
			t.Fatalf("tsv: %q", lines)
		}

		const width = 60
		narrow := write(TableFormat, Style{Terminal: true, Width: width})
		for line := range strings.Lines(narrow) {
			if n := DisplayWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("%d columns: %q", n, line)
			}
		}
		if whole := Escape(name); DisplayWidth(whole) <= mostLines*width {
			// A name with spaces may be folded at one.
			if bare := strings.NewReplacer(" ", "", "\n", ""); !strings.Contains(bare.Replace(narrow), bare.Replace(whole)) {
				t.Fatalf("%q is not in\n%s", whole, narrow)
			}
		}
		if got := strings.Count(write(TableFormat, Style{}), "\n"); got != 1 {
			t.Fatalf("%d lines for one row", got)
		}
	})
}

// On a terminal of any width, no line of a table is wider than it, and no two rows of
// different names read alike: whatever the names have in common.
func TestNarrowTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(
			rapid.StringMatching(`[a-z]{1,9}`),
			rapid.SampledFrom([]string{"0", "1", "17", "transformer_blocks", "attn1", "weight", "{0..63}", "漢字", "ｗ", "é", "🙂", "\x1b", "\u202e"}),
		)
		path := func(label string, most int) string {
			return strings.Join(rapid.SliceOfN(word, 0, most).Draw(t, label), rapid.SampledFrom([]string{".", "_", ""}).Draw(t, "separator"))
		}
		head, tail := path("prefix", 12), path("suffix", 12)
		names := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string {
			return head + strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "middle"), ".") + tail
		}), 2, 12, rapid.ID).Draw(t, "names")
		cut := rapid.SampledFrom([]Cut{NoCut, CutEnd, Sentence})
		var columns []Column
		before := rapid.IntRange(0, 1).Draw(t, "columns before")
		n := before + 1 + rapid.IntRange(0, 8).Draw(t, "columns after")
		for k := range n {
			c := Column{Title: strings.ToUpper(rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "title")), Right: rapid.Bool().Draw(t, "right")}
			if c.Cut = NoCut; k == before {
				c.Cut, c.Right = Whole, false
			} else if k == n-1 {
				c.Cut = cut.Draw(t, "cut")
			}
			columns = append(columns, c)
		}
		other := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9 ]{1,20}`), n, n).Draw(t, "cells")
		if n-1 > before && columns[n-1].Cut != NoCut {
			other[n-1] = rapid.StringMatching(`([a-z]{1,12} ){0,30}end`).Draw(t, "last")
		}
		width := rapid.IntRange(40, 200).Draw(t, "width")

		show := func(names ...string) string {
			table := tableOf(Never, columns, func(yield func([]Cell) bool) {
				for _, name := range names {
					row := make([]Cell, n)
					for k := range row {
						row[k] = Text(other[k])
					}
					row[before] = Text(name)
					if !yield(row) {
						return
					}
				}
			})
			var b strings.Builder
			if err := table.Write(&b, TableFormat, Style{Terminal: true, Width: width}); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		all := show(names...)
		for line := range strings.Lines(all) {
			if n := DisplayWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("%d columns of %d: %q", n, width, line)
			}
		}
		// All rows have the same cells but for the names. Without them what is left of the
		// rows is their names.
		bare := strings.NewReplacer(" ", "", "\n", "")
		rest, seen := bare.Replace(all), make(map[string]bool)
		for _, name := range names {
			shown := bare.Replace(Escape(name))
			if seen[shown] || !strings.Contains(rest, shown) {
				t.Fatalf("%q is not in\n%s", name, all)
			}
			seen[shown] = true
		}
	})
}

type brokenPipe struct{ room int }

var errBroken = errors.New("broken")

func (b *brokenPipe) Write(p []byte) (int, error) {
	b.room -= len(p)
	if b.room < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestWriteErrorStopsTheRows(t *testing.T) {
	for _, f := range []Format{TableFormat, CSV, JSONL, JSON} {
		walked := 0
		table := tableOf(OnTerminal, []Column{{Key: "n", Title: "N"}}, func(yield func([]Cell) bool) {
			walked = 0
			for i := range uint64(1e6) {
				walked++
				if !yield([]Cell{Uint(i)}) {
					return
				}
			}
		})
		var err error
		if f == JSON {
			d := NewDocument(&brokenPipe{})
			d.Rows("rows", table)
			err = d.Close()
		} else {
			err = table.Write(&brokenPipe{}, f, Style{})
		}
		if !errors.Is(err, errBroken) || walked > 1e5 {
			t.Errorf("%s: %v after %d rows", f, err, walked)
		}
	}
	if err := sample().Write(io.Discard, JSON, Style{}); err == nil {
		t.Error("a table is not a JSON document")
	}
}

func BenchmarkTable(b *testing.B) {
	names := make([]string, 92_000)
	for i := range names {
		names[i] = "model.layers." + strconv.Itoa(i/1500) + ".mlp.experts." + strconv.Itoa(i%1500) + ".down_proj.weight_scale_inv"
	}
	row := make([]Cell, 4)
	dims := []uint64{7168, 2048}
	table := tableOf(OnTerminal, []Column{{Key: "name", Title: "NAME"}, {Key: "dtype", Title: "DTYPE"}, {Key: "shape", Title: "SHAPE"}, {Key: "bytes", Title: "SIZE", Right: true}},
		func(yield func([]Cell) bool) {
			for _, n := range names {
				row[0], row[1], row[2], row[3] = Text(n), Text("F8_E4M3"), Shape(dims), Bytes(14680064)
				if !yield(row) {
					return
				}
			}
		})
	for _, f := range []Format{TableFormat, JSONL, CSV, TSV} {
		b.Run(string(f), func(b *testing.B) {
			var out bytes.Buffer
			for b.Loop() {
				out.Reset()
				if err := table.Write(&out, f, Style{}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(out.Len()))
		})
	}
}

// tableOf is a table of rows that have their cells already.
func tableOf(h Headings, columns []Column, rows iter.Seq[[]Cell]) *Table {
	typed := make(Columns[[]Cell], len(columns))
	for i, c := range columns {
		typed[i] = Col[[]Cell]{Key: c.Key, Title: c.Title, Right: c.Right, Cut: c.Cut, Cell: func(c *Cell, row []Cell) { *c = row[i] }}
	}
	t := typed.Table(rows)
	t.Headings = h
	return t
}

func cell[T any](set func(*Cell, T), v T) (c Cell) {
	set(&c, v)
	return c
}

func Null() Cell                { return Cell{} }
func Text(s string) Cell        { return cell((*Cell).Text, s) }
func Uint(n uint64) Cell        { return cell((*Cell).Uint, n) }
func Int(n int64) Cell          { return cell((*Cell).Int, n) }
func Bytes(n uint64) Cell       { return cell((*Cell).Bytes, n) }
func Float(f float64) Cell      { return cell((*Cell).Float, f) }
func Bool(b bool) Cell          { return cell((*Cell).Bool, b) }
func Shape(dims []uint64) Cell  { return cell((*Cell).Shape, dims) }
func (c Cell) In(to Color) Cell { c.Color(to); return c }
