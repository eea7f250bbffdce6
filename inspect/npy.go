package inspect

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// npyTypes are the types of elements that NumPy has, as the header of a .npy file spells
// them. Of BF16 and the floats of 8 bits, which it does not have, a file holds the bits.
//
// https://numpy.org/doc/stable/reference/arrays.interface.html, typestr
var npyTypes = map[string]string{
	"BOOL": "|b1", "I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
	"F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
	"BF16": "<u2", "F8_E4M3": "|u1", "F8_E5M2": "|u1", "F8_E4M3FNUZ": "|u1", "F8_E5M2FNUZ": "|u1", "F8_E8M0": "|u1",
}

// writeNPYHeader writes what is in front of the elements of a .npy file.
//
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (NEP 1): the magic
// string, a version, the length of the rest in 2 bytes or, from version 2.0 on, 4, and a
// Python dictionary padded with spaces so that the elements begin at a multiple of 64.
func writeNPYHeader(w io.Writer, descr string, shape []uint64) error {
	dims := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]")
	if len(shape) == 1 {
		dims += ","
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims)
	const align = 64
	head := []byte("\x93NUMPY\x01\x00")
	length := len(head) + 2 + len(dict) + 1
	dict += strings.Repeat(" ", (align-length%align)%align) + "\n"
	// mostAxes axes take far less than the 64 KiB of version 1.0.
	head = binary.LittleEndian.AppendUint16(head, uint16(len(dict)))
	_, err := w.Write(append(head, dict...))
	return err
}
