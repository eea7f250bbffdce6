package ziparchive

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestRead reads random archives as archive/zip does: those that archive/zip wrote, with its
// data descriptors, and those of another writer.
func TestRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		other := &tt.Zip{Zip64: i%3 == 0}
		if i%5 == 0 {
			other.Comment = []byte("a comment")
			w.SetComment("a comment")
		}
		for j := range rng.IntN(20) {
			data := bytes.Repeat([]byte{byte(j)}, rng.IntN(500))
			name, deflated := fmt.Sprint("a/", j), rng.IntN(2) == 0
			method := uint16(Stored)
			if deflated {
				method = Deflate
			}
			m, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Write(data); err != nil {
				t.Fatal(err)
			}
			other.Members = append(other.Members, &tt.Member{Name: name, Data: data, Deflate: deflated, Descriptor: rng.IntN(2) == 0})
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{b.Bytes(), other.Bytes()} {
			want, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(bytes.NewReader(raw), int64(len(raw)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Len() != len(want.File) {
				t.Fatalf("%d members, want %d", got.Len(), len(want.File))
			}
			var scanned []string
			if err := got.Scan(func(name []byte, m *Member) error {
				scanned = append(scanned, fmt.Sprint(string(name), m.Header, m.Size, m.Packed, m.Method, m.CRC))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for j := range got.Len() {
				w := want.File[j]
				m, err := got.At(j)
				if err != nil {
					t.Fatal(err)
				}
				if s := fmt.Sprint(m.Name, m.Header, m.Size, m.Packed, m.Method, m.CRC); s != scanned[j] {
					t.Fatalf("member %d is %s, and %s by itself", j, scanned[j], s)
				}
				r, err := w.Open()
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				contents, begin, err := got.Contents(m, 1<<20)
				found, n, findErr := got.Find(strings.ToUpper(w.Name))
				if err != nil || m.Name != w.Name || !bytes.Equal(contents, data) || findErr != nil || n != 1 || *found != *m {
					t.Fatalf("member %v: %q, %v, want %v with %q", m, contents, err, w, data)
				}
				at, err := w.DataOffset()
				if err != nil || m.Method == Stored && begin != at || m.Method == Deflate && begin != -1 {
					t.Fatalf("member %v begins at %d, want %d", m, begin, at)
				}
				if m.CRC != crc32.ChecksumIEEE(data) {
					t.Fatalf("member %v has another checksum", m)
				}
			}
			commented := i%5 == 0
			got.Check(func(*Member) bool { return true }, func(f *Fault) {
				if commented && f.Code == CodeTrailingData && f.Offset == int64(len(raw)-len(other.Comment)) {
					commented = false
					return
				}
				t.Errorf("%v (%s, byte %d)", f, f.Code, f.Offset)
			})
			if commented {
				t.Error("a comment is not reported")
			}
		}
	}
}

// TestNames reports names that other readers take for others.
func TestNames(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	extra := append([]byte{0x75, 0x70, 10, 0, 1, 0, 0, 0, 0}, "other"...)
	for _, h := range []*zip.FileHeader{{Name: "a/one", Extra: extra}, {Name: "a/two\x00x"}, {Name: "a/two"}} {
		if _, err := w.CreateHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	a.Check(func(*Member) bool { return false }, func(f *Fault) { got = append(got, f.Code+": "+f.Detail) })
	want := []string{
		`member_name: member "a/one" is called "other" in its Unicode path, which other readers prefer`,
		`member_name: member "a/two\x00x" has a NUL in its name, where other readers end it`,
		`duplicate_member: the archive has "a/two" twice: readers differ in which they take`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestCheckIsLinear: many members of one header cost no more than as many of their own.
func TestCheckIsLinear(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	z := &tt.Zip{Members: []*tt.Member{{Name: "a", Local: long}}}
	for i := range 50_000 {
		z.Members = append(z.Members, &tt.Member{Name: fmt.Sprint(i), Absent: true, Header: new(uint64)})
	}
	raw := z.Bytes()
	r := &counting{r: bytes.NewReader(raw)}
	a, err := Read(r, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.n = 0
	a.Check(func(*Member) bool { return true }, func(*Fault) {})
	if r.n > 10*len(raw) {
		t.Errorf("reads %d bytes of %d", r.n, len(raw))
	}
}

type counting struct {
	r io.ReaderAt
	n int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.n += len(p)
	return c.r.ReadAt(p, off)
}
