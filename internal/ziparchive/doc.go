// Package ziparchive reads zip archives of arrays as the programs that load them do, and
// finds where two readers of one archive would disagree. It is the reader of .pt and .npz
// files.
//
// It is not archive/zip because it has to do as torch does (miniz_zip.c,
// mz_zip_reader_read_central_dir): the last end record counts, offsets are from the start
// of the file, and a local header decides nothing but where its data begin. And [Archive.Check]
// needs what archive/zip hides, such as where the headers are.
//
// Any input is safe to read. No count or length allocates before it has been compared with
// the bytes that exist.
package ziparchive
