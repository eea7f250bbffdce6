package safetensors

import (
	"bytes"
	"io"
	"strings"
)

// lookalikes are files that are met under the name of a safetensors file.
var lookalikes = []struct {
	hint, prefix, detail string
}{
	{HintLFSPointer, "version https://git-lfs", "this is a git-lfs pointer, not the file itself: run git lfs pull"},
	{HintAppleDouble, "\x00\x05\x16\x07", "this is a macOS companion file (._name): delete it"},
	{HintZip, "PK\x03\x04", "this is a zip archive, probably written by torch.save: convert it to safetensors"},
	{HintPickle, "\x80\x02", "this is a Python pickle: convert it to safetensors"},
	{HintGGUF, "GGUF", "this is a GGUF file"},
	{HintHTML, "<!doctype html", "this is an HTML page, as a failed download leaves it: download the file again"},
	{HintHTML, "<html", "this is an HTML page, as a failed download leaves it: download the file again"},
	{HintJSON, "{\"", "this is JSON text, perhaps an index or a configuration"},
	{HintZeros, strings.Repeat("\x00", 16), "the file begins with zeros, as an interrupted download leaves it: download it again"},
}

// explain adds to the fault of a file that cannot be opened what the file seems
// to be instead.
func explain(fault *Fault, r io.ReaderAt, size int64) {
	if fault.Hint != "" {
		return
	}
	head := make([]byte, max(0, min(size, 64)))
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	if bytes.IndexByte(head[:min(n, lengthSize)], 0) < 0 {
		// Text: no header length that is in bounds is without a zero byte.
		head = bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	}
	for _, l := range lookalikes {
		if bytes.HasPrefix(head, []byte(l.prefix)) {
			fault.Hint = l.hint
			fault.Detail += "; " + l.detail
			return
		}
	}
}
