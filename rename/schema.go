package rename

import _ "embed"

//go:embed map.schema.json
var schema string

// Schema returns the JSON Schema (2020-12) of map files, for editors. What
// needs more than the shape of the file, such as a hole on the right side that
// the left side does not have, only Parse finds.
func Schema() string { return schema }
