// Package tables writes what a scan found to Parquet files, and finds what earlier runs
// have written.
//
// A directory has a directory for each table, in which all files are parts of it:
//
//	DIR/_wtinspect.json                               what wrote the tables
//	DIR/releases/part-00000-of-00001-9f86….parquet    one row per release
//	DIR/files/part-00000-of-00001-9f86….parquet
//	…
//
// The parts of one name, one in each table, are a group. It holds whole releases, and
// its name ends in the digest of its part of releases, whose metadata has the sizes and
// digests of the others. A group is written under temporary names, made durable, and
// renamed, the part of releases last: a release is committed when its row is in a part
// of releases. Whatever the moment at which a run is killed, what is not committed is
// recognised, and removed by the next run.
//
// A group that replaces rows of another is renamed while the part of releases of the other has a
// name that readers pass over. What else the other has is carried over to a third, so that rows
// stay which no run is asked for any more.
//
// Inputs that could not be read have groups of their own, so that the next run can try
// them again without the others.
package tables
