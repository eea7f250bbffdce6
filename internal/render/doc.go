// Package render writes what the commands have to say, in every form.
//
// A command's answer is a [Table]: columns, and rows of typed cells that can be
// walked as often as needed. The same rows become a table for people, JSON,
// JSON lines, CSV or TSV, so that no form can know more or less than another.
//
// # For people
//
// On a terminal a table has headings, sizes with binary units, and fits the
// width: a row takes several lines where it has to, and a name is never cut. In a pipe or a file it
// has no headings, integers are exact, nothing is cut, and every row is one
// line. In both, whatever comes from a file is escaped ([Escape]), so that a
// name cannot move the cursor or hide text.
//
// # For programs
//
// JSON is the [Document] envelope. Integers are integers of up to 64 bits, what
// is unknown is null, NaN and the infinities are strings. Text that is not
// UTF-8 has U+FFFD where it breaks, and its bytes in a member with the suffix
// _base64. CSV follows RFC 4180 with lines that end in \n; TSV writes tab,
// newline, carriage return and backslash as \t \n \r \\. Both have a heading
// line, leave the unknown empty and keep every other byte. On a terminal, where a
// person reads them, both escape text as tables do.
package render
