// Package stores finds models that other programs keep on this machine. It writes
// nothing into their directories.
package stores
