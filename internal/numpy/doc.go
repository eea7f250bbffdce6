// Package numpy reads the arrays that NumPy and MLX save: .npy files, and .npz archives of
// them. It lists and judges them, and executes nothing: an array of objects is a pickle, which is
// not read here.
//
// [NewFile] fails only when no array can be listed: the file is not of this kind, or its
// directory or header is broken. What is wrong beyond that is left to [File.Validate]: members that are not arrays, arrays with fewer or more bytes than
// their shape needs, and what readers of the archive disagree about.
//
// The header of an array is a dictionary in the syntax of Python with the keys descr,
// fortran_order and shape. It is read with a grammar for just that.
//
// Data gives the elements in the order of the shape, the last axis fastest, whatever
// fortran_order says, and in the byte order of the file. Members that are compressed, as
// savez_compressed writes them, are inflated while they are read, and again from their beginning
// when something before is read: memory stays small, time does not where it is read back
// and forth.
//
// Any input is safe to open and to validate. No count or length allocates before it has been
// compared with the bytes that exist. A header of more than 64 KiB is a fault.
//
// The facts are those of numpy/lib/_format_impl.py and numpy/lib/_npyio_impl.py in the numpy
// repository (2026), and of mlx/dtype.cpp and mlx/io/load.cpp in that of MLX.
package numpy
