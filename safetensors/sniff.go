package safetensors

import (
	"bytes"
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
	{HintXML, "<?xml", "this is an XML document, such as a store answers with instead of a file: download the file again"},
	{HintGzip, "\x1f\x8b\x08", "this is a gzip archive: decompress it"},
	{HintJSON, "{\"", "this is JSON text, perhaps an index or a configuration"},
	{HintZeros, strings.Repeat("\x00", 16), "the file begins with zeros, as an interrupted download leaves it: download it again"},
}

// sniffed is how many bytes of a file are looked at.
const sniffed = 64

// explain adds to the fault of what cannot be opened what it seems to be
// instead, from its first bytes.
func explain(fault *Fault, head []byte) {
	if fault.Hint != "" {
		return
	}
	text := head
	if bytes.IndexByte(head[:min(len(head), lengthSize)], 0) < 0 {
		// No header length that is in bounds is without a zero byte.
		text = bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	}
	for _, l := range lookalikes {
		if bytes.HasPrefix(head, []byte(l.prefix)) || bytes.HasPrefix(text, []byte(l.prefix)) {
			fault.Hint = l.hint
			fault.Detail += "; " + l.detail
			return
		}
	}
}
