package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// A file is what an archive has, or the release itself.
type file struct {
	name       string // with slashes
	data       []byte
	executable bool
}

func byName(a, b file) int { return strings.Compare(a.name, b.name) }

func (f file) mode() fs.FileMode {
	if f.executable {
		return 0o755
	}
	return 0o644
}

// compressed is gzip of data, without a name and a time.
func compressed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// tarGz packs files: sorted, of one time, owned by root.
func tarGz(files []file, when time.Time) ([]byte, error) { return tarball(files, "", when) }

// tarball is tarGz with a prefix before every name. With one, the directories are
// in it, too, as dpkg wants them.
func tarball(files []file, prefix string, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	head := func(name string, kind byte, mode fs.FileMode, size int) error {
		return w.WriteHeader(&tar.Header{
			Typeflag: kind, Name: name, Mode: int64(mode), Size: int64(size),
			ModTime: when, Uname: "root", Gname: "root", Format: tar.FormatGNU,
		})
	}
	made := map[string]bool{}
	var makeDir func(dir string) error
	makeDir = func(dir string) error {
		if prefix == "" || made[dir] {
			return nil
		}
		made[dir] = true
		if dir != "." {
			if err := makeDir(path.Dir(dir)); err != nil {
				return err
			}
			dir += "/"
		} else {
			dir = ""
		}
		return head(prefix+dir, tar.TypeDir, 0o755, 0)
	}
	for _, f := range slices.SortedFunc(slices.Values(files), byName) {
		if err := makeDir(path.Dir(f.name)); err != nil {
			return nil, err
		}
		if err := head(prefix+f.name, tar.TypeReg, f.mode(), len(f.data)); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return compressed(b.Bytes())
}

// zipped is tarGz for Windows.
func zipped(files []file, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range slices.SortedFunc(slices.Values(files), byName) {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: when}
		h.SetMode(f.mode())
		part, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := part.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// ar packs files as ar does, in the order given: 60 bytes before each, and an even
// length, as in deb(5).
func ar(files []file, when time.Time) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, f := range files {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", f.name, when.Unix(), 0, 0, 0o100000|f.mode(), len(f.data))
		b.Write(f.data)
		if len(f.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}
