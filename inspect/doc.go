// Package inspect does what the wtinspect program does, for other programs: one
// function a command.
//
// [Open] opens the checkpoints that references stand for, and judges their files
// in the background. [List], [Info], [Metadata], [Stats], [Cat], [Hash] and [Diff] answer
// questions about what is open; [Identify], [Translate] and [Rename] work on one
// checkpoint; [Convert] makes a new one of several; [Check], [Fix] and [Lock] work on a release.
//
// A function takes a context, what it works on, and options, nil for the defaults.
// Its result is a struct, whose members in JSON are those of the program's -f json,
// which docs/json.md describes, without the schema_version. A list that may be long
// is a [Seq], made while it is walked over. Nothing is printed, and nothing is
// written but what the options name.
//
// Progress functions are told how many bytes of data are done, and how many there
// are in all. They are called from several goroutines, and begin again with 0 when
// another piece of work begins.
package inspect
