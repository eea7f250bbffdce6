package pytorch_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/torchtest"
	"github.com/wtinspect/wtinspect/pytorch"
)

// programs returns what the pickles of a file import and call, one line per name.
func programs(t *testing.T, data []byte) string {
	t.Helper()
	list, err := pytorch.Programs(bytes.NewReader(data), int64(len(data)))
	var b strings.Builder
	for _, p := range list {
		place := p.Place
		if place == "" {
			place = "-"
		}
		fmt.Fprintf(&b, "%s@%d", place, p.Offset)
		if p.Stray {
			b.WriteString(" stray")
		}
		if p.Refused != "" {
			fmt.Fprintf(&b, " refused %s@%d", p.Refused, p.RefusedAt)
		}
		if p.Err != nil {
			b.WriteString(" broken")
		}
		b.WriteByte('\n')
		for _, g := range p.Globals {
			fmt.Fprintf(&b, " %s@%d", g, g.Offset)
			if g.Calls > 0 {
				fmt.Fprintf(&b, " %dx %s@%d", g.Calls, g.Call.Opcode, g.Call.Offset)
			}
			b.WriteByte('\n')
		}
	}
	if err != nil {
		b.WriteString("error\n")
	}
	return b.String()
}

func TestPrograms(t *testing.T) {
	const evil = "GLOBAL posix system\nSHORT_BINSTRING id\nTUPLE1\nREDUCE\n"
	// The magic number, the version and the system of the old stream.
	const stream = "PROTO 2\nLONG1 \"\\x6c\\xfc\\x9c\\x46\\xf9\\x20\\x6a\\xa8\\x50\\x19\"\nSTOP\nPROTO 2\nBININT2 1001\nSTOP\nPROTO 2\nEMPTY_DICT\nSTOP\n"
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "raw hello\n", ""},
		{"empty", "", ""},
		{"plain", "PROTO 2\n" + evil + "STOP\n", "-@0\n posix.system@2 1x REDUCE@21\n"},
		{"protocol 0", "GLOBAL os system\nMARK\nSTRING \"'id'\"\nTUPLE\nREDUCE\nSTOP\n", "-@0 refused STRING@12\n os.system@0 1x REDUCE@19\n"},
		{"INST", "MARK\nSTRING \"'id'\"\nINST os system\nSTOP\n", "-@0 refused STRING@1\n os.system@7 1x INST@7\n"},
		{"OBJ", "MARK\nGLOBAL os system\nSTRING \"'id'\"\nOBJ\nSTOP\n", "-@0 refused STRING@12\n os.system@1 1x OBJ@18\n"},
		{"NEWOBJ and BUILD", "PROTO 2\nGLOBAL a B\nEMPTY_TUPLE\nNEWOBJ\nEMPTY_DICT\nBUILD\nSTOP\n", "-@0\n a.B@2 2x NEWOBJ@8\n"},
		{"BUILD of what a call made", "PROTO 2\nGLOBAL a b\nEMPTY_TUPLE\nREDUCE\nEMPTY_DICT\nBUILD\nSTOP\n", "-@0\n a.b@2 2x REDUCE@8\n"},
		{
			"a call of the result of a call", "PROTO 2\nGLOBAL builtins getattr\nGLOBAL os path\nSHORT_BINSTRING join\nTUPLE2\nREDUCE\nEMPTY_TUPLE\nREDUCE\nSTOP\n",
			"-@0\n os.path@20\n os.path.join@36 1x REDUCE@38\n",
		},
		{
			"getattr that is also given to something", "PROTO 2\nGLOBAL builtins getattr\nBINPUT 0\nGLOBAL os path\nSHORT_BINSTRING join\nTUPLE2\nREDUCE\nGLOBAL a b\nBINGET 0\nTUPLE1\nREDUCE\nTUPLE2\nSTOP\n",
			"-@0\n builtins.getattr@2\n os.path@22\n os.path.join@38\n a.b@39 1x REDUCE@47\n",
		},
		{
			"getattr of what is computed", "PROTO 2\nGLOBAL builtins getattr\nGLOBAL a b\nEMPTY_TUPLE\nREDUCE\nSHORT_BINSTRING c\nTUPLE2\nREDUCE\nSTOP\n",
			"-@0\n builtins.getattr@2 1x REDUCE@31\n a.b@20 1x REDUCE@26\n",
		},
		{"a call by a function that makes tensors", "PROTO 2\nGLOBAL torch._tensor _rebuild_from_type_v2\nMARK\nGLOBAL os system\nNONE\nSHORT_BINSTRING id\nTUPLE1\nNONE\nTUPLE\nREDUCE\nSTOP\n", "-@0\n torch._tensor._rebuild_from_type_v2@2 1x REDUCE@59\n os.system@40 1x REDUCE@59\n"},
		{
			"STACK_GLOBAL by way of the memo",
			"PROTO 4\nSHORT_BINUNICODE system\nMEMOIZE\nPOP\nSHORT_BINUNICODE os\nBINGET 0\nSTACK_GLOBAL\nSTOP\n",
			"-@0 refused SHORT_BINUNICODE@2\n os.system@18\n",
		},
		{
			"STACK_GLOBAL of names that are computed",
			"PROTO 4\nGLOBAL builtins str\nEMPTY_TUPLE\nREDUCE\nSHORT_BINUNICODE system\nSTACK_GLOBAL\nSTOP\n",
			"-@0 refused SHORT_BINUNICODE@18\n builtins.str@2 1x REDUCE@17\n <computed>.system@26\n",
		},
		{
			"STACK_GLOBAL of a name in another encoding",
			"PROTO 4\nGLOBAL _codecs encode\nBINUNICODE bf\nBINUNICODE rot13\nTUPLE2\nREDUCE\nBINUNICODE system\nSTACK_GLOBAL\nEMPTY_TUPLE\nREDUCE\nSTOP\n",
			"-@0 refused STACK_GLOBAL@48\n _codecs.encode@2 1x REDUCE@36\n <computed>.system@48 1x REDUCE@50\n",
		},
		{
			"STACK_GLOBAL of a name that is imported",
			"PROTO 4\nGLOBAL constants module\nBINUNICODE system\nSTACK_GLOBAL\nEMPTY_TUPLE\nREDUCE\nSTOP\n",
			"-@0 refused STACK_GLOBAL@31\n constants.module@2\n <computed>.system@31 1x REDUCE@33\n",
		},
		{"a call behind READONLY_BUFFER", "PROTO 5\nSHORT_BINBYTES os\nraw \"\\x98\"\nPOP\n" + evil + "STOP\n", "-@0 refused SHORT_BINBYTES@2\n posix.system@8 1x REDUCE@27\n"},
		{"a call behind READONLY_BUFFER of none", "PROTO 5\nNONE\nraw \"\\x98\"\nPOP\n" + evil + "STOP\n", "-@0 refused READONLY_BUFFER@3 broken\n posix.system@5 1x REDUCE@24\n"},
		{"a call behind numbers as int() reads them", "NONE\nPUT 1_0\nPUT \" +3\"\nGET 10\nPOP\nPOP\n" + evil + "STOP\n", "-@0 refused PUT@1\n posix.system@17 1x REDUCE@36\n"},
		{"a number that int() does not read", "NONE\nPUT 1__0\n" + evil + "STOP\n", "-@0 refused PUT@1 broken\n posix.system@7 1x REDUCE@26\n"},
		{"STACK_GLOBAL of no names", "PROTO 4\nNONE\nNONE\nSTACK_GLOBAL\nSTOP\n", "-@0 refused STACK_GLOBAL@4 broken\n"},
		{"names of Python 2", "PROTO 2\nGLOBAL __builtin__ eval\nGLOBAL cPickle loads\nGLOBAL __builtin__ reduce\nGLOBAL exceptions IOError\nTUPLE3\nSTOP\n", "-@0\n builtins.eval@2\n pickle.loads@20\n functools.reduce@35\n builtins.IOError@55\n"},
		{"names of Python 2 in protocol 0", "GLOBAL thread start_new_thread\nSTOP\n", "-@0\n _thread.start_new_thread@0\n"},
		{"names of Python 2 in a protocol that it does not have", "PROTO 3\nGLOBAL cPickle loads\nGLOBAL torch.tensor f\nSTOP\n", "-@0\n cPickle.loads@2\n torch._tensor.f@17\n"},
		{"an extension", "PROTO 2\nEXT1 7\nSTOP\n", "-@0 refused EXT1@2\n copyreg.extension 7@2\n"},
		{"broken afterwards", "PROTO 2\n" + evil + "POP\nPOP\nSTOP\n", "-@0 refused POP@22 broken\n posix.system@2 1x REDUCE@21\n"},
		{"cut off", "PROTO 2\n" + evil, "-@0 broken\n posix.system@2 1x REDUCE@21\n"},
		{"a second", "PROTO 2\nNONE\nSTOP\nPROTO 2\n" + evil + "STOP\n", "-@0\n-@4 stray\n posix.system@6 1x REDUCE@25\n"},
		{"a second without a protocol", "PROTO 2\nNONE\nSTOP\n" + evil + "STOP\n", "-@0\n-@4 stray\n posix.system@4 1x REDUCE@23\n"},
		{"a second behind other bytes", "PROTO 2\nNONE\nSTOP\nraw \"\\x00\\x00\\x80\\x80\"\nPROTO 2\n" + evil + "STOP\n", "-@0\n-@8 stray\n posix.system@10 1x REDUCE@29\n"},
		{"other bytes behind", "PROTO 2\nNONE\nSTOP\nraw cos\n", "-@0\n"},
		{"text behind", "PROTO 2\nNONE\nSTOP\nraw \"cats and\\ndogs\\n.\"\n", "-@0\n"},
		{"the old stream of protocol 1", strings.ReplaceAll(stream, "PROTO 2\n", "") + evil + "STOP\nEMPTY_LIST\nSTOP\nraw \"\\x80\\x02N.\"", "-@0\n-@13\n-@17\n-@19\n posix.system@19 1x REDUCE@38\n-@40\n-@42 stray\n"},
		{"the old stream", stream + "PROTO 2\n" + evil + "STOP\nPROTO 2\nEMPTY_LIST\nSTOP\nraw \"\\x80\\x02N.\"", "-@0\n-@15\n-@21\n-@25\n posix.system@27 1x REDUCE@46\n-@48\n-@52 stray\n"},
		{
			"the old stream with a storage and a pickle behind it",
			stream + "PROTO 2\nMARK\nBINUNICODE storage\nGLOBAL torch ByteStorage\nBINUNICODE 0\nBINUNICODE cpu\nBININT1 4\nTUPLE\nBINPERSID\nSTOP\nPROTO 2\nEMPTY_LIST\nBINUNICODE 0\nAPPEND\nSTOP\nraw \"\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x02N.\"\nPROTO 2\n" + evil + "STOP\n",
			"-@0\n-@15\n-@21\n-@25\n torch.ByteStorage@40\n-@78\n-@101 stray\n posix.system@103 1x REDUCE@122\n",
		},
		{"a magic number that is computed", "PROTO 2\nGLOBAL builtins eval\nEMPTY_TUPLE\nREDUCE\nSTOP\nPROTO 2\nNONE\nSTOP\n", "-@0\n builtins.eval@2 1x REDUCE@18\n-@20\n"},
		{"bytes", "PROTO 3\nBINBYTES\nbegin\nPROTO 2\n" + evil + "STOP\nend\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1\n posix.system@-1 1x REDUCE@-1\n"},
		{"bytes of protocol 2", "PROTO 2\nGLOBAL _codecs encode\nBINUNICODE \"\\u0080\\x02cos\\nsystem\\n.\"\nSHORT_BINSTRING latin1\nTUPLE2\nREDUCE\nSTOP\n", "-@0\n _codecs.encode@2 1x REDUCE@47\nstring 1@-1\n os.system@-1\n"},
		{"bytes of protocol 0", "PROTO 3\nBINBYTES\nbegin\n" + evil + "STOP\nend\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1\n posix.system@-1 1x REDUCE@-1\n"},
		{"text of protocol 0", "PROTO 2\nBINUNICODE \"cos\\nsystem\\n(S'id'\\ntR.\"\nSTOP\n", "-@0\nstring 1@-1 refused STRING@-1\n os.system@-1 1x REDUCE@-1\n"},
		{"bytes with more behind STOP", "PROTO 3\nBINBYTES\nbegin\nPROTO 2\n" + evil + "STOP\nraw \"\\x00tail\"\nend\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1\n posix.system@-1 1x REDUCE@-1\n"},
		{"bytes without STOP", "PROTO 3\nBINBYTES\nbegin\nPROTO 2\n" + evil + "end\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1 broken\n posix.system@-1 1x REDUCE@-1\n"},
		{"bytes in Latin-1 without PROTO", "PROTO 2\nBINUNICODE \"U\\u0002os\\u008c\\u0006system\\u0093)R.\"\nSTOP\n", "-@0\nstring 1@-1 refused SHORT_BINUNICODE@-1\n os.system@-1 1x REDUCE@-1\n"},
		{"bytes in UTF-8 that are no text in Latin-1", "PROTO 3\nBINBYTES\nbegin\nSHORT_BINSTRING \"\\u00e9\"\nPOP\n" + evil + "STOP\nend\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1 refused POP@-1\n posix.system@-1 1x REDUCE@-1\n"},
		{"bytes that begin as a pickle and are none", "PROTO 3\nBINBYTES \"\\x80\\x02\\xff.\"\nSTOP\n", "-@0 refused BINBYTES@2\n"},
		{"text with a line", "PROTO 2\nBINUNICODE \"cats.\\ndogs.\\n\"\nSTOP\n", "-@0\n"},
		{
			"bytes in bytes", "PROTO 3\nBINBYTES\nbegin\nPROTO 3\nBINBYTES\nbegin\nPROTO 2\n" + evil + "STOP\nend\nSTOP\nend\nSTOP\n",
			"-@0 refused BINBYTES@2\nstring 1@-1 refused BINBYTES@-1\nstring 1, string 1@-1\n posix.system@-1 1x REDUCE@-1\n",
		},
		{"an archive in bytes that is none", "PROTO 3\nBINBYTES \"PK\\x03\\x04\"\nSTOP\n", "-@0 refused BINBYTES@2\nstring 1@-1 broken\n"},
		{
			"an archive", "member a/data.pkl\nPROTO 2\n" + evil + "STOP\nmember a/data/0\nPROTO 2\n" + evil + "STOP\nmember a/x.PICKLE\n" + evil + "STOP\nmember a/constants.pkl\nNONE\nSTOP\n",
			"a/data.pkl@40\n posix.system@42 1x REDUCE@61\na/x.PICKLE@196 stray\n posix.system@196 1x REDUCE@215\na/constants.pkl@278\n",
		},
		{"a broken archive", "raw \"PK\\x03\\x04 cut\"\n", "error\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := fixture.Pickle(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, programs(t, data)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for i := range data { // whatever is cut off
				programs(t, data[:i])
			}
		})
	}
}

// Torch still loads the archives that it wrote before 0.1.10.
func TestProgramsOfTar(t *testing.T) {
	evil, err := fixture.Pickle("PROTO 2\nGLOBAL posix system\nSHORT_BINSTRING id\nTUPLE1\nREDUCE\nSTOP\n")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"notes", "./pickle"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(evil)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(evil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := programs(t, b.Bytes()), "./pickle@1536\n posix.system@1538 1x REDUCE@1557\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A pickle of pickles of pickles ends somewhere.
func TestProgramsAreBounded(t *testing.T) {
	text := "PROTO 3\nNONE\nSTOP\n"
	for range 20 {
		text = "PROTO 3\nBINBYTES\nbegin\n" + text + "end\nSTOP\n"
	}
	data, err := fixture.Pickle(text)
	if err != nil {
		t.Fatal(err)
	}
	got := programs(t, data)
	if n := strings.Count(got, "\n"); n != 10 || !strings.HasSuffix(got, " broken\n") { // the last is not looked into
		t.Errorf("%d pickles, want 10: %s", n, got)
	}
	many := strings.Repeat("\x80\x02N.", 20_000)
	if got := programs(t, []byte(many)); strings.Count(got, "\n") != 10_001 || !strings.HasSuffix(got, "-@-1 stray broken\n") {
		t.Errorf("%d pickles, want 10000 and one that says there are more: …%s", strings.Count(got, "\n"), got[len(got)-100:])
	}
	evil := "\x80\x02cos\nsystem\n)R."
	inBytes := "\x80\x02](" + strings.Repeat("C\x04\x80\x02N.", 10_050) + "C" + string(rune(len(evil))) + evil + "e."
	got = programs(t, []byte(inBytes))
	if strings.Contains(got, "system") || !strings.HasSuffix(got, "broken\n") {
		t.Errorf("10,051 pickles in strings: …%s", got[len(got)-100:])
	}
}

// Names beyond the bound of a checkpoint are still judged.
func TestManyNames(t *testing.T) {
	var text strings.Builder
	text.WriteString("PROTO 2\n")
	for i := range 10_050 {
		fmt.Fprintf(&text, "GLOBAL collections a%d\nPOP\n", i)
	}
	text.WriteString("GLOBAL os system\nEMPTY_TUPLE\nREDUCE\nSTOP\n")
	data, err := fixture.Pickle(text.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := programs(t, data); strings.Count(got, "\n") != 10_052 || !strings.Contains(got, " os.system@") {
		t.Errorf("%d lines, want 10052 with os.system", strings.Count(got, "\n"))
	}
	if _, err := pytorch.NewFile(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "more than 10000 names") {
		t.Errorf("NewFile: %v, want the bound of names", err)
	}
}

func FuzzPrograms(f *testing.F) {
	for _, text := range []string{
		"PROTO 2\nGLOBAL posix system\nSHORT_BINSTRING id\nTUPLE1\nREDUCE\nSTOP\n",
		"PROTO 3\nBINBYTES\nbegin\nPROTO 2\nNONE\nSTOP\nend\nSTOP\n",
		"member a/data.pkl\nPROTO 2\nEMPTY_DICT\nBINUNICODE w\ntensor 0 FloatStorage 1\nSETITEM\nSTOP\nmember a/data/0\nraw abcd\n",
	} {
		data, err := fixture.Pickle(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := pytorch.Programs(bytes.NewReader(data), int64(len(data)))
		for _, p := range list {
			if err == nil && (p.Offset < -1 || p.Offset > int64(len(data))) {
				t.Errorf("a pickle at byte %d of %d", p.Offset, len(data))
			}
			for _, g := range p.Globals {
				if g.Calls > 0 && g.Call.Opcode == "" {
					t.Errorf("%s is called by nothing", g)
				}
			}
		}
	})
}

// Compressed files are inflated as joblib.load and pandas.read_pickle inflate them: what they have is a pickle
// of the file. What else they have is left alone. The first two were written by Python's zlib and bz2.
func TestProgramsInflated(t *testing.T) {
	const evil = "\x80\x02cposix\nsystem\nU\x02id\x85R."
	plain := "-@-1\n posix.system@-1 1x REDUCE@-1\n"
	gzipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	tarred := func(name string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(evil)), Mode: 0o600, Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(evil)); err != nil {
			t.Fatal(err)
		}
		w.Close()
		return b.String()
	}
	for name, tt := range map[string]struct{ data, want string }{
		"zlib":                    {"\x78\x9c\x6b\x60\x4a\x2e\xc8\x2f\xce\xac\xe0\x2a\xae\x2c\x2e\x49\xcd\xe5\x0a\x65\xca\x4c\x69\x0d\xd2\x03\x00\x63\x47\x07\xfb", plain},
		"bzip2":                   {"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x6d\x09\x2e\x13\x00\x00\x0a\xd3\xc0\x10\x10\x00\x01\x12\x00\x0e\x22\xcc\x60\x42\x00\x20\x00\x31\x4d\x32\x31\x31\x31\x0a\x01\xea\x68\xd3\x4f\x28\x71\xbf\x04\x03\x9a\x98\x30\x53\x65\xa8\x57\xc5\xdc\x91\x4e\x14\x24\x1b\x42\x4b\x84\xc0", plain},
		"gzip":                    {gzipped(evil), plain},
		"protocol 0":              {gzipped("cos\nsystem\n(S'id'\ntR."), "-@-1 refused STRING@-1\n os.system@-1 1x REDUCE@-1\n"},
		"cut short":               {gzipped(evil)[:40], plain},
		"text":                    {gzipped("cat\nand dog\n"), ""},
		"damaged":                 {"\x1f\x8b\x08\x00" + evil, ""},
		"a torch.save archive":    {gzipped(string(fixture.Bytes(t, "format torch\ntensor a F32 [2]\n"))), "archive/data.pkl@-1\n collections.OrderedDict@-1 2x REDUCE@-1\n torch._utils._rebuild_tensor_v2@-1 1x REDUCE@-1\n torch.FloatStorage@-1\n"},
		"a tar file of old torch": {gzipped(tarred("pickle")), "pickle@-1\n posix.system@-1 1x REDUCE@-1\n"},
		"more than is looked at":  {gzipped(evil + strings.Repeat("x", 9<<20)), plain + "-@-1 stray broken\n"},
	} {
		if got := programs(t, []byte(tt.data)); got != tt.want {
			t.Errorf("%s: %s", name, cmp.Diff(tt.want, got))
		}
	}
}

// What is in directories below those of storages is no storage, and a pickle if it begins as one.
func TestProgramsBelowStorages(t *testing.T) {
	z := torchtest.File{Root: torchtest.D("w", torchtest.NewTensor("uint8", 4)), Protocol: 2}.Zip()
	const evil = "\x80\x02cposix\nsystem\nU\x02id\x85R."
	z.Find("data/0").Data = []byte(evil)
	z.Members = append(z.Members, &torchtest.Member{Name: "archive/data/sample_inputs/model.pt", Data: []byte(evil)})
	got := programs(t, z.Bytes())
	if !strings.Contains(got, "archive/data/sample_inputs/model.pt@") || strings.Count(got, "posix.system") != 1 {
		t.Error(got)
	}
}
