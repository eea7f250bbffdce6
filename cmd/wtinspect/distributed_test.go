package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/torchtest"
)

// said runs a command that must end with a code, and returns what it prints.
func said(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), args, strings.NewReader(""), &out, &errs); got != code {
		t.Errorf("%q: exit %d, want %d: %s%s", args, got, code, &out, &errs)
	}
	return out.String() + errs.String()
}

func expect(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

// A distributed checkpoint is listed, judged, and converted to shards of safetensors with the
// bytes that it was cut from.
func TestDistributedCheckpoint(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "step-100")
	d := torchtest.Distributed{Tensors: []torchtest.Sharded{
		torchtest.NewSharded("model.embed.weight", "bfloat16", []int{64, 16}, 0, 4),
		torchtest.NewSharded("model.layers.0.w", "float32", []int{12, 16}, 1, 4),
		torchtest.NewSharded("model.layers.1.w", "float32", []int{12, 16}, 1, 4),
	}, Objects: []torchtest.Item{{Key: "step", Value: 100}}}
	write := func(dir string, files map[string][]byte) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range files {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(dir, d.Files())
	expect(t, said(t, exitOK, "ls", dir), "model.embed.weight", "[64,16]", "model.layers.1.w")
	expect(t, said(t, exitOK, "info", dir), "format       pytorch", ".metadata", "__3_0.distcp")
	expect(t, said(t, exitOK, "check", "--select", "WT1,WT2,WT7", dir), "no findings", "(3 tensors")

	// A file of chunks that is left of another checkpoint is no more copied than those that are converted.
	stray := filepath.Join(root, "stray")
	write(stray, d.Files())
	write(stray, map[string][]byte{"__9_0.distcp": []byte("chunks"), "notes.txt": []byte("text")})
	expect(t, said(t, exitOK, "convert", stray, "-o", stray+"-out"), "not copied: __9_0.distcp")
	if names, _ := filepath.Glob(stray + "-out/*"); len(names) != 2 {
		t.Errorf("written: %q", names)
	}

	out := filepath.Join(root, "out")
	said(t, exitOK, "convert", dir, "-o", out, "--max-shard-size", "2KiB")
	shards, err := filepath.Glob(filepath.Join(out, "model-*-of-*.safetensors"))
	if err != nil || len(shards) < 2 {
		t.Errorf("%d shards, %v", len(shards), err)
	}
	// The same tensors in one piece.
	whole := filepath.Join(root, "whole")
	one := torchtest.Distributed{}
	for _, tensor := range d.Tensors {
		all := tensor
		all.Chunks = []torchtest.Chunk{{Offsets: make([]int, len(tensor.Shape)), Sizes: tensor.Shape, File: "__0_0.distcp"}}
		one.Tensors = append(one.Tensors, all)
	}
	write(whole, one.Files())
	expect(t, said(t, exitOK, "diff", out, dir), "same")
	expect(t, said(t, exitOK, "diff", out, whole), "same")

	// An object is a pickle of its own, which torch.load runs as one.
	evil := d
	evil.Objects = []torchtest.Item{{Key: "step", Value: torchtest.Call{Func: torchtest.Named("os.system"), Args: torchtest.Tuple{"id"}}}}
	bad := filepath.Join(root, "evil")
	write(bad, evil.Files())
	expect(t, said(t, exitFindings, "check", "--select", "WT710", bad), "__0_0.distcp@", "calls os.system by REDUCE")
	expect(t, said(t, exitOK, "convert", bad, "-o", bad+"-out"), "loading the file with torch.load calls os.system by REDUCE")

	files := d.Files()
	delete(files, "__2_0.distcp")
	broken := filepath.Join(root, "broken")
	write(broken, files)
	expect(t, said(t, exitFindings, "check", broken), "__2_0.distcp", "the file is missing")
	said(t, exitFailed, "convert", broken, "-o", filepath.Join(root, "not"))
	expect(t, said(t, exitFailed, "ls", filepath.Join(dir, "__0_0.distcp")), "name its directory")
	expect(t, said(t, exitFailed, "rename", "--add-prefix", "x.", dir), "is not edited")
}

// What is odd about a file of torch.save is said by ls, info and convert.
func TestTorchNotes(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, root any, change func(z *torchtest.Zip)) string {
		z := torchtest.File{Protocol: 2, Root: root}.Zip()
		if change != nil {
			change(z)
		}
		return writeFile(t, name, z.Bytes())
	}
	out := filepath.Join(dir, "out.safetensors")
	w := torchtest.D("w.weight", torchtest.NewTensor("float32", 1, 3))

	state := file("optimizer.pt", torchtest.D("state", torchtest.D("m", torchtest.D("exp_avg", torchtest.NewTensor("float32", 1, 3))), "param_groups", torchtest.List{}), nil)
	expect(t, said(t, exitOK, "ls", state), "state.m.exp_avg", "optimizer.pt: it is the state of an optimiser and no model: its numbers are no parameters")
	expect(t, said(t, exitOK, "info", state), "contents     the state of an optimiser and no model")
	expect(t, said(t, exitOK, "convert", "-n", state, "-o", out), "note: it is the state of an optimiser and no model")
	expect(t, said(t, exitOK, "check", "--select", "WT719", state), "WT719: the whole file is the state of an optimiser: 1 tensor, 12 bytes")

	sharded := torchtest.Call{Func: torchtest.Named("torch.distributed._shard.sharded_tensor.api.ShardedTensor"), State: torchtest.D("_local_shards", torchtest.List{torchtest.NewTensor("float32", 2, 2)})}
	shards := file("shards.pt", torchtest.D("flat_param", sharded), nil)
	expect(t, said(t, exitOK, "ls", shards), "made of other tensors, which are listed below their names, and of a distributed tensor are the part of one process: 1 tensor: flat_param")
	expect(t, said(t, exitOK, "convert", "-n", shards, "-o", out), "the parts that other tensors are made of are converted", "1 tensor: flat_param")
	expect(t, said(t, exitOK, "check", "--select", "WT720", shards), "flat_param: it is in shards")

	twins := file("twins.pt", w, func(z *torchtest.Zip) {
		z.Members = append(z.Members, &torchtest.Member{Name: "archive/DATA.PKL", Data: []byte("\x80\x02cposix\nsystem\n(X\x01\x00\x00\x00xtR.")})
	})
	expect(t, said(t, exitOK, "ls", twins), "loading it with torch.load calls posix.system by REDUCE", `"archive/data.pkl" and "archive/DATA.PKL", which differ in case alone`)
	expect(t, said(t, exitFailed, "convert", twins, "-o", out), "loading it with torch.load calls posix.system by REDUCE", "cannot be known")
	if text := said(t, exitFindings, "check", twins); strings.Contains(text, "does not read") {
		t.Errorf("one of two is said not to be read:\n%s", text)
	}
}

// What cat writes as a file of NumPy is read as one, and is what it was.
func TestArraysOfNumPy(t *testing.T) {
	root := t.TempDir()
	model := filepath.Join(root, "model.safetensors")
	if err := writeFixture(model, "meta format pt\ntensor a.weight F32 [6,4]\ntensor b I64 [3]\n"); err != nil {
		t.Fatal(err)
	}
	npz := filepath.Join(root, "arrays", "model.npz")
	if err := os.MkdirAll(filepath.Dir(npz), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(npz)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for _, name := range []string{"a.weight", "b"} {
		file := filepath.Join(root, name+".npy")
		said(t, exitOK, "cat", model, name, "-f", "npy", "-o", file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(name + ".npy") // which deflates
		if err == nil {
			_, err = io.Copy(w, bytes.NewReader(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	expect(t, said(t, exitOK, "ls", filepath.Dir(npz)), "a.weight", "[6,4]", "I64")
	expect(t, said(t, exitOK, "info", npz), "format       numpy")
	expect(t, said(t, exitOK, "diff", model, npz), "same")
	converted := filepath.Join(root, "converted.safetensors")
	said(t, exitOK, "convert", npz, "-o", converted)
	expect(t, said(t, exitOK, "diff", model, converted), "same")
	expect(t, said(t, exitOK, "ls", filepath.Join(root, "b.npy")), "I64", "[3]")
	expect(t, said(t, exitFailed, "rename", "--add-prefix", "x.", npz), "not edited")

	// An array of objects is a pickle.
	header := "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"
	evil := "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), 0}) + header + "cos\nsystem\n(S'id'\ntR."
	objects := filepath.Join(root, "objects.npy")
	if err := os.WriteFile(objects, []byte(evil), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, said(t, exitFindings, "check", "--select", "WT7", objects), "the pickle calls os.system by REDUCE", "WT720")
}
