package main

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestChecksumsOfStorages has a bit of a storage changed after the archive was written. Whatever reads all
// of the storage says so, whether one tensor has it, several that are parts of it, or a gathered one, and a
// conversion leaves nothing behind.
func TestChecksumsOfStorages(t *testing.T) {
	whole := torchtest.NewTensor("float32", 1, 1<<20) // more than is read at once
	rows := torchtest.NewTensor("float32", 2, 6, 4)
	turned := torchtest.NewTensor("float32", 3, 4, 6)
	part := func(of *torchtest.Tensor, offset int, shape ...int) *torchtest.Tensor {
		return &torchtest.Tensor{Storage: of.Storage, Offset: offset, Shape: shape}
	}
	clear(whole.Storage.Data[1<<20 : 3<<20]) // a hole
	good := torchtest.NewTensor("float32", 4, 3)
	root := torchtest.D("good", good, "whole", whole, "q", part(rows, 0, 2, 4), "k", part(rows, 8, 2, 4), "v", part(rows, 16, 2, 4),
		"turned", &torchtest.Tensor{Storage: turned.Storage, Shape: []int{6, 4}, Stride: []int{1, 6}}, "half", part(torchtest.NewTensor("float32", 5, 8), 0, 4))
	dir := t.TempDir()
	file := func(bad string, change func(z *torchtest.Zip)) string {
		z := torchtest.File{Root: root, Protocol: 2}.Zip()
		if bad != "" {
			m := z.Find(bad)
			m.CRC = torchtest.P(crc32.ChecksumIEEE(m.Data))
			m.Data = append([]byte{m.Data[0] ^ 1}, m.Data[1:]...)
		}
		if change != nil {
			change(z)
		}
		name := filepath.Join(dir, "model.bin")
		if err := writeSparse(name, z.Bytes()); err != nil {
			t.Fatal(err)
		}
		return name
	}
	out := filepath.Join(dir, "out.safetensors")
	for bad, tensor := range map[string]string{"data/1": "whole", "data/2": "", "data/3": "turned"} {
		name := file(bad, nil)
		message := `storage "` + bad[len("data/"):] + `" has other bytes than its checksum is of`
		expect(t, said(t, exitFailed, "convert", name, "-o", out), name+": ", message)
		if _, err := os.Stat(out); err == nil {
			t.Error("a file is left of a conversion that was refused")
		}
		said(t, exitFailed, "convert", name, "-o", out, "--dtype", "bf16")
		expect(t, said(t, exitFindings, "check", "--values", "--select", "WT715,WT550", name), "WT715", tensor, message)
		expect(t, said(t, exitFailed, "hash", name), message)
		expect(t, said(t, exitFailed, "stats", name), message)
		said(t, exitOK, "ls", name)
		said(t, exitOK, "check", "--select", "WT715", name)
	}
	// Where part of a storage is read, nothing is known.
	said(t, exitOK, "hash", file("data/4", nil))

	// Without any checksums there is nothing to compare.
	name := file("", func(z *torchtest.Zip) {
		for _, m := range z.Members {
			m.CRC, m.LocalCRC = torchtest.P(uint32(0)), torchtest.P(uint32(0))
		}
	})
	said(t, exitOK, "convert", name, "-o", out)
	said(t, exitOK, "check", "--values", "--select", "WT715", name)
}

// writeSparse writes a file with holes where whole blocks are zero.
func writeSparse(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	const block = 4096
	for at := 0; at < len(data) && err == nil; at += block {
		if b := data[at:min(at+block, len(data))]; len(bytes.Trim(b, "\x00")) > 0 {
			_, err = f.WriteAt(b, int64(at))
		}
	}
	return errors.Join(err, f.Close())
}
