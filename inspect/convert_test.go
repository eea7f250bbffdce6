package inspect_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

var allConversions = flag.Bool("all-conversions", false, "try every conversion below every wrapper")

// convertTo makes a checkpoint in another convention.
func convertTo(t *testing.T, c *checkpoint.Checkpoint, out string, names inspect.RenameOptions, like *checkpoint.Checkpoint) error {
	t.Helper()
	names.Unknown = inspect.DropUnknown
	v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{
		Names: names, Like: like, Write: assemble.Options{Output: out, Verify: rewrite.VerifyNone},
	})
	if err != nil {
		return err
	}
	defer v.Close()
	return v.Run(t.Context(), nil)
}

// What is converted to a convention is identified as that one, whatever the names are
// below, or the conversion is refused.
func TestConvertedIsIdentified(t *testing.T) {
	if testing.Short() {
		t.Skip("many files")
	}
	wrappers := []string{"", "module.", "_orig_mod.", "base_model.model.", "model."}
	n, done, refused := 0, 0, 0
	offered(t, func(from, to *convention.Convention) {
		for _, wrapper := range wrappers {
			if n++; !*allConversions && n%11 != 0 {
				continue
			}
			dir := t.TempDir()
			c := sampleOf(t, dir, from, to)
			if wrapper != "" {
				wrapped := filepath.Join(dir, "wrapped"+filepath.Ext(c.Path))
				r, err := inspect.Rename(t.Context(), c, &inspect.RenameOptions{Edit: rename.Edit{AddPrefix: wrapper}, AllowLayoutMismatch: true, Rewrite: rewrite.Options{Output: wrapped}})
				if err == nil {
					err = r.Run(t.Context(), nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				c = open(t, wrapped)
			}
			out := filepath.Join(dir, "converted"+filepath.Ext(c.Path))
			err := convertTo(t, c, out, inspect.RenameOptions{From: from.Name, To: to.Name}, nil)
			if _, ok := errors.AsType[*convert.RefusalError](err); ok {
				refused++
				if wrapper == "" {
					t.Errorf("%s to %s: %v", from.Name, to.Name, err)
				}
				continue
			}
			if err != nil {
				if wrapper == "" {
					t.Logf("%s to %s: %v", from.Name, to.Name, err)
				}
				refused++
				continue
			}
			done++
			written, err := inspect.Identify(t.Context(), open(t, out), nil)
			if err != nil || !written.IsOf(to.Name) {
				t.Errorf("%s to %s below %q is identified as %q, %v: %v", from.Name, to.Name, wrapper, written.Convention, written.Evidence, err)
			}
		}
	})
	t.Logf("%d conversions, %d refused", done, refused)
	if done < 100 {
		t.Errorf("only %d conversions were tried", done)
	}
}

// GGUF files of every architecture whose names have a counterpart become safetensors with
// those, and come back, by their own key/values, as the architecture that they were.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("many files")
	}
	tried := make(map[string]bool)
	done, refused := 0, 0
	offered(t, func(from, to *convention.Convention) {
		architecture, isGGUF := strings.CutSuffix(from.Name, "-gguf")
		if !isGGUF || !to.HasDialect("hf") || tried[from.Name] {
			return
		}
		tried[from.Name] = true
		dir := t.TempDir()
		c := sampleOf(t, dir, from, to)
		var text strings.Builder
		fmt.Fprintf(&text, "format gguf\nkv general.architecture str %s\n", architecture)
		for _, key := range slices.Sorted(maps.Keys(sampleNumbers)) {
			if name, ok := convention.GGUFKey(architecture, key); ok {
				fmt.Fprintf(&text, "kv %s u32 %v\n", name, sampleNumbers[key])
			}
		}
		for _, tensor := range c.All() {
			values := "normal=1"
			if strings.HasSuffix(tensor.Name, "ssm_a") {
				values = "values=-1,-0.5,-2" // of -exp
			}
			fmt.Fprintf(&text, "tensor %s F32 %s %s\n", tensor.Name, strings.ReplaceAll(fmt.Sprint(tensor.Shape), " ", ","), values)
		}
		path := filepath.Join(dir, "model.gguf")
		if err := fixture.Write(path, text.String()); err != nil {
			t.Fatal(err)
		}
		source := open(t, path)
		there, back := filepath.Join(dir, "there.safetensors"), filepath.Join(dir, "back.gguf")
		if err := convertTo(t, source, there, inspect.RenameOptions{}, nil); err != nil {
			refused++
			t.Logf("%s: %v", from.Name, err)
			return
		}
		converted := open(t, there)
		got, err := inspect.Identify(t.Context(), converted, nil)
		if c, ok := convention.Lookup(got.Convention); err != nil || !ok || !c.HasDialect("hf") {
			t.Errorf("%s becomes %q, %v: %v", from.Name, got.Convention, got.Evidence, err)
			return
		}
		model, err := inspect.Model(t.Context(), converted, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := convertTo(t, converted, back, inspect.RenameOptions{Model: model}, source); err != nil {
			refused++
			t.Logf("%s: back: %v", from.Name, err)
			return
		}
		done++
		if got, err := inspect.Identify(t.Context(), open(t, back), nil); err != nil || !got.IsOf(from.Name) {
			t.Errorf("%s comes back as %q, %v: %v", from.Name, got.Convention, got.Evidence, err)
		}
	})
	t.Logf("%d architectures, %d refused", done, refused)
	if done < 50 {
		t.Errorf("only %d architectures go there and back", done)
	}
}
