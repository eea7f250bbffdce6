//go:build !parquet

package main

// parquetLinked says that this program writes Parquet itself.
const parquetLinked = false
