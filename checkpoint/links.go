package checkpoint

// LeavesRelease reports whether path leads, by symbolic links, to a file that is
// neither below dir nor in the blobs of the Hugging Face cache that dir belongs to.
func LeavesRelease(dir, path string) bool {
	_, leaves := leavesDir(dir, path)
	return leaves
}
