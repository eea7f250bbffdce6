package rewrite

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// A file that is written anew has the permissions, attributes and access
// control list of the old one.
func TestAttributesSurvive(t *testing.T) {
	dir := t.TempDir()
	ref, m := release(t, dir, "single")
	attributes := map[string]string{
		"user.origin": "somewhere\x00else",
		"user.empty":  "",
		// Version 2: the owner rw-, user 1234 r--, the group r--, mask r--, others ---.
		"system.posix_acl_access": "\x02\x00\x00\x00" +
			"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xd2\x04\x00\x00" +
			"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff",
	}
	for name, value := range attributes {
		if err := unix.Setxattr(ref, name, []byte(value), 0); err != nil {
			t.Skipf("the file system has no such attributes: %v", err)
		}
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	runJob(t, faulttest.Limited{}, ref, m, &Options{Output: out})
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for name, want := range attributes {
		buf := make([]byte, 256)
		n, err := unix.Getxattr(out, name, buf)
		if err != nil || string(buf[:max(n, 0)]) != want {
			t.Errorf("%s: %q, %v", name, buf[:max(n, 0)], err)
		}
	}
}
