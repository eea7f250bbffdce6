package inspect_test

import (
	"errors"
	"flag"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

var allConversions = flag.Bool("all-conversions", false, "try every conversion below every wrapper")

// convertTo makes a checkpoint in another convention.
func convertTo(t *testing.T, c *checkpoint.Checkpoint, out string, names inspect.RenameOptions) error {
	t.Helper()
	names.Unknown = inspect.DropUnknown
	v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{
		Names: names, Write: assemble.Options{Output: out, Verify: rewrite.VerifyNone},
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
			err := convertTo(t, c, out, inspect.RenameOptions{From: from.Name, To: to.Name})
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
