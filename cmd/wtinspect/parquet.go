package main

import "github.com/wtinspect/wtinspect/inspect"

// A tableWriter writes what a scan finds as tables.
type tableWriter interface {
	// Known reports whether the tables have the rows of a repository in a state.
	Known(repository, state string) bool
	Write(s *inspect.Scanned) error
	// Commit makes durable and visible what was written.
	Commit() error
	// End returns which repositories of an earlier run have lost their rows, once all
	// inputs were written.
	End() (lost []string, err error)
	// Rows counts what was written, by table.
	Rows() map[string]int64
	Close() error
}

// tableOptions say which tables are written, and where.
type tableOptions struct {
	dir           string
	shard, shards int
	values        bool
	by            string
	resume        bool
	// rows is how many tensors a part has before the next begins, 0 for the default.
	rows int64
}

// What writes Parquet takes a tenth to a quarter of the time of an ls of a small file to start,
// which only those pay who need it: it is linked with the build tag parquet. Without the tag the
// program becomes parquetProgram, the same with the tag.
const parquetProgram = "wtinspect-parquet"

// callerVariable tells parquetProgram which build it is to be of.
const callerVariable = "WTINSPECT_PARQUET_FOR"

// source says what a build was made from, whatever it is for.
func (b build) source() string {
	s := b.version
	if b.commit != "" {
		s += ", commit " + b.commit
	}
	if b.modified {
		s += " (modified)"
	}
	return s
}
