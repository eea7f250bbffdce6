// Package pytorch reads the checkpoints that torch.save writes (.pt, .pth, .bin,
// .ckpt), lists their tensors and judges them. It executes nothing: a pickle is a
// program, and this package walks it without importing or calling what it names.
//
// # Words
//
// A checkpoint is a pickle and storages. A storage is a run of elements of one
// type, known by its key. A tensor is a view of a storage: an offset, a shape and
// strides, all counted in elements, so that several tensors may share the bytes of
// one storage. The pickle builds a tree of dictionaries, lists and other values, with
// tensors among them; a tensor's name is the path of keys that leads to it, joined
// with dots.
//
// Two containers hold them. Since version 1.6 torch writes a zip archive with one
// member per storage, not compressed. Before, it wrote a stream: five pickles, and
// after them the storages. The tar files of torch before 0.1.10 are recognised and
// refused. A plain pickle is read as well and has no storages.
//
// A distributed checkpoint is a directory of files of torch.save, whose tensors are chunks of
// larger ones, and .metadata, a pickle that says what they are and where. [ReadDistributed]
// reads that.
//
// # Opening and validating
//
// [Open] and [NewFile] fail only when the tensors cannot be enumerated: the container
// or the pickle is broken, or a limit is passed. The error then is a [*Fault], or the
// error of the underlying reader. What is wrong beyond that is left to
// [File.Validate]: storages that are absent or too short, tensors that reach beyond
// theirs, headers of the archive that contradict each other.
//
// The archive is read as torch reads it: the central directory decides, and checksums,
// the encryption flag and the names in local headers are not believed. Other
// programs believe them, and a file that shows different contents to different readers
// may do so on purpose: Validate reports every disagreement.
//
// A global is a name that the pickle asks Python to import. What torch's own names
// mean is known here. Any other becomes an [Object] with that name, and what it
// is called with; [File.Globals] lists them all.
//
// # Untrusted input
//
// Any input is safe to open and to validate. No count or length allocates before it
// has been compared with the bytes that exist. Time is linear in the pickle, and memory
// stays below 64 MiB beyond 12 times its bytes. The limits, each a fault when passed:
//
//	pickle               256 MiB
//	nesting              1,000 levels
//	central directory    256 MiB
//	imported names       10,000
//	an integer in digits 4,300, as in Python
//
// Names are returned as they are stored: they may hold control characters, and must be
// escaped before they are shown.
//
// The facts are those of torch/serialization.py, torch/_utils.py,
// torch/_weights_only_unpickler.py and caffe2/serialize/inline_container.cc in the
// pytorch repository (2026), and of Lib/pickletools.py in CPython.
package pytorch
