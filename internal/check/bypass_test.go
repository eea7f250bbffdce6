package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestBypasses judges what was published as getting past programs that judge pickles: advisories of picklescan
// and issues of ModelScan and fickling, built anew. Each is an error, and none is run.
func TestBypasses(t *testing.T) {
	const call = "cposix\nsystem\n(X\x02\x00\x00\x00idtR"
	archive := func(pickle string, change func(z *tt.Zip)) []byte {
		z := tt.File{Root: tt.D("w", tt.NewTensor("float32", 1, 2, 3)), Protocol: 2}.Zip()
		if pickle != "" {
			z.Find("data.pkl").Data = []byte(pickle)
		}
		if change != nil {
			change(z)
		}
		return z.Bytes()
	}
	pickled := func(pickle string) []byte { return archive(pickle, nil) }
	evil := "\x80\x02" + call + "."
	inner := func() []byte { return pickled(evil) }
	short := func(s string) string { return "\x8c" + string(rune(len(s))) + s }

	for name, test := range map[string]struct {
		file string
		data []byte
		want string // rules, each once
	}{
		// Pickles that break, before or after the call.
		"breaks after the call":       {data: pickled("\x80\x02" + call + "0\xff."), want: "WT710"},
		"ends after the call":         {data: pickled("\x80\x02" + call), want: "WT710"},
		"stack runs dry":              {data: pickled("\x80\x02" + call + "0000."), want: "WT710"},
		"memo that is not set":        {data: pickled("\x80\x02" + call + "h\x07."), want: "WT710"},
		"protocol 9 in the middle":    {data: pickled("\x80\x02" + call + "\x80\x09."), want: "WT710"},
		"STOP before a second one":    {data: pickled("\x80\x02N.\x80\x02" + call + "."), want: "WT710 WT714"},
		"popped, never in the result": {data: pickled("\x80\x02" + call + "0}."), want: "WT710"},

		// Names that are hard to see.
		"stack_global":                  {data: pickled("\x80\x04" + short("posix") + short("system") + "\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"stack_global of the memo":      {data: pickled("\x80\x04U\x05posixq\x05U\x06systemq\x06" + "U\x0ctorch._utils\x94U\x12_rebuild_tensor_v2\x940000h\x05h\x06\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"stack_global past pops":        {data: pickled("\x80\x04" + short("posix") + "N0" + short("x") + "0" + short("system") + "\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"stack_global of dup":           {data: pickled("\x80\x04" + short("code") + "2\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"stack_global of a name":        {data: pickled("\x80\x04cnumpy\nprod\n0cnumpy\nprod.a\ncnumpy\nprod.b\n\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"dotted name":                   {data: pickled("\x80\x04" + short("os") + short("system.__call__") + "\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"dotted name of another":        {data: pickled("\x80\x04" + short("torch") + short("serialization.os.system") + "\x93(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"globals of a function":         {data: pickled("\x80\x04" + short("torch._utils") + short("_rebuild_tensor.__globals__") + "\x93N\x85R."), want: "WT710"},
		"attribute of a harmless class": {data: pickled("\x80\x04" + short("collections") + short("OrderedDict.__class__.__base__.__subclasses__") + "\x93)R."), want: "WT710"},
		"Python 2's name":               {data: pickled("c__builtin__\neval\n(S'1'\ntR."), want: "WT710"},
		"Python 2's name, protocol 4":   {data: pickled("\x80\x04c__builtin__\neval\n(X\x01\x00\x00\x001tR."), want: "WT710"},
		"cPickle":                       {data: pickled("ccPickle\nloads\n(S'.'\ntR."), want: "WT710"},
		"commands":                      {data: pickled("ccommands\ngetoutput\n(S'id'\ntR."), want: "WT710"},
		"copy_reg, and a number":        {data: pickled("\x80\x02ccopy_reg\nadd_extension\n(X\x05\x00\x00\x00posixX\x06\x00\x00\x00systemK\x07tR0\x82\x07(X\x02\x00\x00\x00idtR."), want: "WT710"},
		"a number alone":                {data: pickled("\x80\x02\x83\x07\x00)R."), want: "WT710"},
		"getattr":                       {data: pickled("\x80\x02c__builtin__\ngetattr\n(c__builtin__\n__import__\n(X\x02\x00\x00\x00ostRX\x06\x00\x00\x00systemtR(X\x02\x00\x00\x00idtR."), want: "WT710 WT716"},
		"an attribute set by BUILD":     {data: pickled("\x80\x02cnumpy\nprod\nN}X\x01\x00\x00\x00acsys\nmodules\ns\x86b."), want: "WT710 WT716"},

		// Other opcodes that call.
		"INST":                  {data: pickled("(S'id'\niposix\nsystem\n."), want: "WT710"},
		"OBJ":                   {data: pickled("\x80\x02(cposix\nsystem\nX\x02\x00\x00\x00ido."), want: "WT710"},
		"NEWOBJ":                {data: pickled("\x80\x02csubprocess\nPopen\nX\x02\x00\x00\x00id\x85\x81."), want: "WT710"},
		"NEWOBJ_EX":             {data: pickled("\x80\x04csubprocess\nPopen\nX\x02\x00\x00\x00id\x85}\x92."), want: "WT710"},
		"BUILD":                 {data: pickled("\x80\x02clogging.config\nDictConfigurator\n)\x81}b."), want: "WT710"},
		"a persistent id":       {data: pickled("\x80\x02" + call + "Q."), want: "WT710 WT716"},
		"a call of an instance": {data: pickled("\x80\x02cfunctools\npartial\n(cposix\nsystem\nX\x02\x00\x00\x00idtR)R."), want: "WT710 WT716"},
		"map":                   {data: pickled("\x80\x02cbuiltins\nmap\n(cposix\nsystem\n(X\x02\x00\x00\x00idltR."), want: "WT710"},

		// Functions that were on no list.
		"numpy.f2py":     {data: pickled("cnumpy.f2py.crackfortran\ngetlincoef\n(S'1'\n(dtR."), want: "WT710"},
		"execWrapper":    {data: pickled("ctorch.jit.unsupported_tensor_ops\nexecWrapper\n(S'1'\n(d(dtR."), want: "WT710"},
		"collect_env":    {data: pickled("ctorch.utils.collect_env\nrun\n(S'id'\ntR."), want: "WT710"},
		"pkgutil":        {data: pickled("cpkgutil\nresolve_name\n(S'os:system'\ntR."), want: "WT710"},
		"pydoc":          {data: pickled("cpydoc\npipepager\n(S'x'\nS'id'\ntR."), want: "WT710"},
		"uuid":           {data: pickled("cuuid\n_get_command_stdout\n(S'id'\ntR."), want: "WT710"},
		"a graph module": {data: pickled("ctorch.fx.graph_module\nreduce_graph_module\n(}(X\x05\x00\x00\x00_codeX\x01\x00\x00\x00xutR."), want: "WT710"},
		"torch.package":  {data: pickled("ctorch.package.package_importer\nPackageImporter\n(S'x'\ntR."), want: "WT710"},

		// Pickles in pickles, and in other members.
		"a pickle in a string": {data: pickled("\x80\x03}X\x01\x00\x00\x00aC" + string([]byte{byte(len(evil))}) + evil + "s."), want: "WT710 WT713"},
		"an archive in a string": {data: func() []byte {
			z := inner()
			return pickled("\x80\x03}X\x01\x00\x00\x00aB" + string([]byte{byte(len(z)), byte(len(z) >> 8), 0, 0}) + string(z) + "s.")
		}(), want: "WT710 WT713"},
		"another member": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/extra.pkl", Data: []byte(evil)})
		}), want: "WT710 WT714"},
		"an archive among the members": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/extra.zip", Data: inner()})
		}), want: "WT710"},
		"a compressed archive among the members": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/extra.zip", Data: inner(), Deflate: true})
		}), want: "WT710"},
		"a member with another ending": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/extra.txt", Data: []byte(evil)})
		}), want: "WT710"},
		"a member above": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/../data.pkl", Data: []byte(evil)})
		}), want: "WT710 WT714 WT715"},

		// Archives that readers take for others.
		"flag of encryption": {data: archive(evil, func(z *tt.Zip) { z.Find("data.pkl").Flags = 1 }), want: "WT710 WT715"},
		"wrong checksum":     {data: archive(evil, func(z *tt.Zip) { z.Find("data.pkl").CRC = tt.P(uint32(7)) }), want: "WT710 WT715"},
		"another local name": {data: archive(evil, func(z *tt.Zip) { z.Find("data.pkl").Local = "archive/data.txt" }), want: "WT710 WT715"},
		"compressed":         {data: archive(evil, func(z *tt.Zip) { z.Find("data.pkl").Deflate = true }), want: "WT710 WT715"},
		"twice": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/data.pkl", Data: []byte(evil)})
		}), want: "WT710 WT715"},
		"in another case": {data: archive("", func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/DATA.pkl", Data: []byte(evil)})
		}), want: "WT710 WT715"},
		"not in the directory": {data: archive("", func(z *tt.Zip) {
			z.Members = slices.Insert(z.Members, 1, &tt.Member{Name: "archive/old.pkl", Data: []byte(evil), Hidden: true})
		}), want: "WT710 WT715"},
		"before the archive":     {data: archive("", func(z *tt.Zip) { z.Before = []byte("PK\x03\x04" + strings.Repeat("\x00", 40) + evil) }), want: "WT710 WT715"},
		"comment of the archive": {data: archive("", func(z *tt.Zip) { z.Comment = []byte(evil) }), want: "WT710 WT715"},
		"behind the archive":     {data: archive("", func(z *tt.Zip) { z.After = []byte(evil) }), want: "WT710 WT715"},

		// Names of files that say nothing of what is in them.
		"a pickle called .bin":              {data: []byte(evil), want: "WT710"},
		"a pickle called .ckpt":             {file: "model.ckpt", data: []byte(evil), want: "WT710"},
		"a pickle called .safetensors":      {file: "model.safetensors", data: pickled(evil), want: "WT710"},
		"a pickle called .gguf":             {file: "model.gguf", data: []byte(evil), want: "WT710"},
		"a stream's magic number is a call": {data: []byte(evil + strings.Repeat("\x80\x02K\x00.", 4)), want: "WT710"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "pytorch_model.bin")
		if test.file != "" {
			path = filepath.Join(dir, test.file)
		}
		if err := os.WriteFile(path, test.data, 0o666); err != nil {
			t.Fatal(err)
		}
		_, report := judged(t, dir, nil)
		var got []string
		danger := false
		for _, f := range report.Findings {
			got = append(got, f.Rule.ID)
			danger = danger || f.Rule.ID == "WT710" && f.Severity == checkpoint.Error
			if strings.Contains(strings.ToLower(f.Message), "safe ") {
				t.Errorf("%s: %s", name, f.Message)
			}
		}
		slices.Sort(got)
		got = slices.Compact(got)
		for _, rule := range strings.Fields(test.want) {
			if !slices.Contains(got, rule) {
				t.Errorf("%s: %s, want %s", name, got, test.want)
				break
			}
		}
		if !danger && strings.Contains(test.want, "WT710") {
			t.Errorf("%s: no error", name)
		}
	}
}
