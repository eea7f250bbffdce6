// Package txn changes files so that nothing is lost. It is the only package of
// the program that writes, replaces or removes files.
//
// Every operation works below a directory that was opened once (a [Dir]),
// component by component, and never through a symbolic link: a link, a FIFO or
// another process cannot lead it to a file that was not named. Temporary files
// are created exclusively under names that cannot be guessed; what exists
// already is never taken for one's own.
//
// There are three ways to change things:
//
//   - a [Tx] changes several files of one directory tree, all or none. A hidden
//     journal, durable before the first change, says how to undo it and, once
//     it is marked, how to finish it; [Recover] does either after a crash.
//   - a [Draft] is a file or a directory that is written beside its destination
//     and appears there when it is complete.
//   - [WriteFile] and [Create] do the same for one small file, such as a report.
//
// # Journals
//
// A journal may come with a downloaded release, so it is not believed. It names
// files below its own directory, by names that are not hidden; only weights and
// the documents beside them may be replaced, and only by what has the recorded
// content. It also carries the identity of itself and of every file (device,
// inode, size, modification time), which nobody can know in advance who does not
// write on this file system: a journal that was made elsewhere is refused.
package txn
