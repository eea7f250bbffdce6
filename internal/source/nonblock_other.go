//go:build !unix

package source

// nonblock is nothing where no file in a directory can be a pipe.
const nonblock = 0
