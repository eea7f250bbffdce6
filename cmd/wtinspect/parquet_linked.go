//go:build parquet

package main

import (
	"fmt"

	"github.com/wtinspect/wtinspect/internal/tables"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// openTables begins to write tables.
func (p *program) openTables(o tableOptions) (tableWriter, error) {
	b := thisBuild().source()
	if caller := p.getenv(callerVariable); caller != "" && caller != b {
		return nil, fmt.Errorf("%s is %s, and the wtinspect that started it is %s; install both from one release", parquetProgram, b, caller)
	}
	return tables.Create(txn.OS{}, o.dir, tables.Options{
		Version: thisBuild().version, Shard: o.shard, Shards: o.shards, Values: o.values, By: o.by, Resume: o.resume, Rows: o.rows, Note: p.note,
	})
}
