package pytorch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// counted counts the reads of a file.
type counted struct {
	io.ReaderAt
	reads int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.ReaderAt.ReadAt(p, off)
}

// severalStorages is a file of storages of odd sizes.
func severalStorages(change func(m *tt.Member)) *tt.Zip {
	var root tt.Ordered
	for i := range 20 {
		root = append(root, tt.Item{Key: fmt.Sprint("w", i), Value: tt.NewTensor("int8", i, 1+37*i)})
	}
	z := tt.File{Protocol: 2, Root: root}.Zip()
	for _, m := range z.Members {
		change(m)
	}
	return z
}

// packedBy returns the members of an archive in one that Go's own package writes, whose members
// follow each other without padding.
func packedBy(t *testing.T, z *tt.Zip) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range z.Members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.Name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestExpectedPlaces compares where tensors are with what Go's own reader of archives says. Where
// torch.save wrote the archive, nothing is read for it.
func TestExpectedPlaces(t *testing.T) {
	plain := severalStorages(func(*tt.Member) {})
	for _, tt := range []struct {
		name  string
		data  []byte
		reads bool
	}{
		{"aligned", plain.Bytes(), false},
		{"with descriptors", severalStorages(func(m *tt.Member) { m.Descriptor = true }).Bytes(), false},
		{"gaps", severalStorages(func(m *tt.Member) {
			if strings.HasSuffix(m.Name, "3") {
				m.Gap = make([]byte, 64)
			}
		}).Bytes(), true},
		{"not aligned", packedBy(t, plain), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &counted{ReaderAt: bytes.NewReader(tt.data)}
			f, err := NewFile(r, int64(len(tt.data)))
			if err != nil {
				t.Fatal(err)
			}
			archive, err := zip.NewReader(bytes.NewReader(tt.data), int64(len(tt.data)))
			if err != nil {
				t.Fatal(err)
			}
			want := make([]int64, f.Len())
			for _, m := range archive.File {
				var i int
				if _, key, _ := strings.Cut(m.Name, "/"); strings.HasPrefix(key, "data/") {
					if _, err := fmt.Sscanf(key, "data/%d", &i); err != nil {
						t.Fatal(err)
					}
					if want[i], err = m.DataOffset(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := f.Data(0); err != nil { // which compares the checksum of the pickle
				t.Fatal(err)
			}
			r.reads = 0
			if got := f.Offsets(); !slices.Equal(got, want) {
				t.Errorf("at %d, want %d", got, want)
			}
			for i := range f.Len() {
				if _, err := f.Data(i); err != nil {
					t.Error(err)
				}
			}
			if r.reads > 0 && !tt.reads {
				t.Errorf("%d reads", r.reads)
			}
		})
	}
}

// TestUnexpectedPlaces has local headers say that the bytes of a storage begin 8 bytes before where
// torch.save puts them. Whoever reads these, or says that they were read, is told.
func TestUnexpectedPlaces(t *testing.T) {
	for name, summed := range map[string]bool{"with checksums": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			data := severalStorages(func(m *tt.Member) {
				if !summed {
					m.CRC = tt.P(uint32(0))
				}
			}).Bytes()
			at := bytes.Index(data, []byte("archive/data/7")) - 30
			extra := data[at+28:]
			binary.LittleEndian.PutUint16(extra, binary.LittleEndian.Uint16(extra)-8)
			f := read(t, data)
			places := f.Offsets()
			if places[7] != read(t, severalStorages(func(*tt.Member) {}).Bytes()).Offsets()[7] {
				t.Errorf("at %d", places[7])
			}
			r, err := f.Data(7)
			if err != nil {
				t.Fatal(err)
			}
			elsewhere := func(what string, err error) {
				t.Helper()
				if flt, ok := errors.AsType[*Fault](err); !ok || flt.Code != CodeMemberHeader || flt.Offset != int64(at) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = io.ReadAll(r)
			elsewhere("read", err)
			outer, _, _ := r.Outer()
			watcher := outer.(interface {
				Saw(p []byte, off int64) error
				SawZeros(off, n int64) error
			})
			elsewhere("seen", watcher.Saw(data[places[7]:places[7]+4], places[7]))
			elsewhere("seen as zeros", watcher.SawZeros(places[7], 4))
			_, err = f.StorageData(f.At(7).Storage)
			elsewhere("storage", err)
			if r, err := f.Data(8); err != nil {
				t.Error(err)
			} else if _, err := io.ReadAll(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestValidateDirectory finds in an archive's directory what Validate finds there, and reads no local header.
func TestValidateDirectory(t *testing.T) {
	z := severalStorages(func(m *tt.Member) {
		if strings.HasSuffix(m.Name, "/3") {
			m.Local = "archive/data/x"
		}
	})
	z.Members = append(z.Members, &tt.Member{Name: "archive/data/4", Data: []byte{1}})
	f := read(t, z.Bytes())
	if got := codes(f.Validate()); !slices.Contains(got, CodeDuplicateMember) || !slices.Contains(got, CodeMemberName) {
		t.Errorf("all: %v", got)
	}
	if got := codes(f.ValidateDirectory()); !slices.Contains(got, CodeDuplicateMember) || slices.Contains(got, CodeMemberName) {
		t.Errorf("the directory: %v", got)
	}
}

// TestSumsAreDropped reads all storages: nothing is kept of what is known to be right.
func TestSumsAreDropped(t *testing.T) {
	f := read(t, severalStorages(func(*tt.Member) {}).Bytes())
	for i := range f.Len() {
		r, err := f.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.sums); n > 0 {
		t.Errorf("%d sums are kept", n)
	}
}

// TestSame changes each byte of an archive. Those of its directory and its pickle are noticed; those of
// storages and of headers are what reading them compares.
func TestSame(t *testing.T) {
	z := severalStorages(func(*tt.Member) {})
	data := z.Bytes()
	f := read(t, data)
	check := func(data []byte) bool {
		same, ok, _ := f.Same(bytes.NewReader(data), int64(len(data)))
		if !ok {
			t.Fatal("not told")
		}
		return same
	}
	if !check(data) {
		t.Error("another file, as it is")
	}
	if check(data[:len(data)-1]) || check(append(bytes.Clone(data), 0)) {
		t.Error("the same file, of another size")
	}
	pickle := bytes.Index(data, z.Find("data.pkl").Data)
	directory := bytes.Index(data, []byte("PK\x01\x02"))
	for at := range data {
		changed := bytes.Clone(data)
		changed[at] ^= 0x10
		inPickle := at >= pickle && at < pickle+len(z.Find("data.pkl").Data)
		if (inPickle || at == directory+16) && check(changed) { // a checksum
			t.Errorf("the same file, with byte %d changed", at)
		}
	}
	legacy := read(t, tt.File{Protocol: 2, Root: tt.Ordered{{Key: "w", Value: tt.NewTensor("int8", 1, 3)}}}.Legacy())
	if _, ok, err := legacy.Same(bytes.NewReader(data), int64(len(data))); ok || err != nil {
		t.Error("a stream without checksums is told by them", err)
	}
}
