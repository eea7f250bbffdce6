// Package image writes files that consist of a header and of pieces of others, and
// shows that what was written is what was read.
//
// A copy reads ahead, digests behind, goes past the cache where the file system
// allows that, and is as sparse as what it is made of. It knows no format.
package image
