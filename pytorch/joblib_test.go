package pytorch_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/pytorch"
)

const (
	// What joblib.dump writes for an array: the object that describes it, without its dtype.
	wrapped = "GLOBAL joblib.numpy_pickle NumpyArrayWrapper\nEMPTY_TUPLE\nNEWOBJ\nEMPTY_DICT\nMARK\nBINUNICODE shape\nBININT1 2\nBININT1 3\nTUPLE2\nBINUNICODE dtype\n"
	// float64, whose state has no size, and is memorised.
	float64s = "GLOBAL numpy dtype\nBINUNICODE f8\nNEWFALSE\nNEWTRUE\nTUPLE3\nREDUCE\nBINPUT 1\n" +
		"MARK\nBININT1 3\nBINUNICODE <\nNONE\nNONE\nNONE\nBININT -1\nBININT -1\nBININT1 0\nTUPLE\nBUILD\n"
	// Text of five characters, of four bytes each.
	texts = "GLOBAL numpy dtype\nBINUNICODE U5\nNEWFALSE\nNEWTRUE\nTUPLE3\nREDUCE\n" +
		"MARK\nBININT1 3\nBINUNICODE <\nNONE\nNONE\nNONE\nBININT1 20\nBININT1 4\nBININT1 8\nTUPLE\nBUILD\n"
	objects = "GLOBAL numpy dtype\nBINUNICODE O8\nNEWFALSE\nNEWTRUE\nTUPLE3\nREDUCE\n" +
		"MARK\nBININT1 3\nBINUNICODE |\nNONE\nNONE\nNONE\nBININT -1\nBININT -1\nBININT1 63\nTUPLE\nBUILD\n"
	aligned = "BINUNICODE numpy_array_alignment_bytes\nBININT1 16\n"
	built   = "SETITEMS\nBUILD\n"
	posix   = "GLOBAL posix system\nBINUNICODE id\nTUPLE1\nREDUCE\n"
)

// The sizes are those of NumPy: six float64 have 48 bytes, six texts of five characters 120. The bytes of the
// arrays are 5, which is no opcode.
func TestJoblib(t *testing.T) {
	five := func(n int) string { return `raw "` + strings.Repeat(`\x05`, n) + "\"\n" }
	const begin = "PROTO 3\nEMPTY_LIST\nMARK\n"
	const end = "APPENDS\nSTOP\n"
	for _, test := range []struct {
		name, text    string
		calls, broken string // what is called besides dtypes and arrays, and why it breaks off
	}{
		{"before 1.2", begin + wrapped + float64s + built + five(48) + end, "", ""},
		{"padded", begin + wrapped + float64s + aligned + built + `raw "\x03\xff\xff\xff"` + "\n" + five(48) + end, "", ""},
		{"texts", begin + wrapped + texts + built + five(120) + end, "", ""},
		{"two, of one dtype", begin + wrapped + float64s + built + five(48) + wrapped + "BINGET 1\n" + built + five(48) + end, "", ""},
		{"a call behind", begin + wrapped + float64s + built + five(48) + posix + end, "posix.system", ""},
		{"a second pickle", begin + wrapped + float64s + built + five(48) + end + "PROTO 2\n" + posix + "STOP\n", "posix.system", ""},
		{"objects", begin + wrapped + objects + built + "PROTO 4\nNONE\nSTOP\n" + end, "", ""},
		{"objects that call", begin + wrapped + objects + built + "PROTO 4\n" + posix + "STOP\n" + end, "posix.system", ""},
		{"a call behind objects", begin + wrapped + objects + built + "PROTO 4\nNONE\nSTOP\n" + posix + end, "posix.system", ""},
		{"an array that pickle.load calls", begin + wrapped + float64s + built + `raw "cposix\nsystem\nX\x02\x00\x00\x00id\x85R0` + strings.Repeat("N", 24) + "\"\n" + end, "posix.system", ""},
		{"cut short", begin + wrapped + float64s + built + five(40), "", "has 48 bytes, and the file 40"},
		{"padding cut off", begin + wrapped + float64s + aligned + built, "", "the file ends where an array"},
		{"objects cut short", begin + wrapped + objects + built + "PROTO 4\nNONE\n", "", "array of objects breaks off"},
		{"no dtype", begin + wrapped + "NONE\n" + built + five(48) + posix + end, "", "what follows it is not judged"},
		{"no STOP", begin + wrapped + float64s + built + five(48) + "APPENDS\n", "", "without STOP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := fixture.Pickle(test.text)
			if err != nil {
				t.Fatal(err)
			}
			list, err := pytorch.Programs(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			var broken error
			for _, p := range list {
				for _, g := range p.Globals {
					if g.Calls > 0 && g.Module != "numpy" && g.Module != "joblib.numpy_pickle" {
						calls = append(calls, g.String())
						if at := g.Offset; at < 0 || !bytes.HasPrefix(data[at:], []byte("cposix\nsystem\n")) {
							t.Errorf("%s is not at byte %d", g, at)
						}
					}
				}
				if p.Joblib {
					broken = p.Err
				}
			}
			if got := strings.Join(calls, " "); got != test.calls {
				t.Errorf("calls %q, want %q", got, test.calls)
			}
			if test.broken == "" && broken != nil || test.broken != "" && (broken == nil || !strings.Contains(broken.Error(), test.broken)) {
				t.Errorf("broken: %v, want %q", broken, test.broken)
			}
			_, err = pytorch.NewFile(bytes.NewReader(data), int64(len(data)))
			if flt, ok := errors.AsType[*pytorch.Fault](err); !ok || flt.Code != pytorch.CodeNotTorch || !strings.Contains(flt.Detail, "joblib") {
				t.Errorf("NewFile: %v, want that it is joblib's", err)
			}
			for i := range data {
				programs(t, data[:i])
			}
		})
	}
}
