package rewrite

import (
	"context"
	"errors"
	"fmt"

	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// Errors of operations in place that callers may want to tell apart.
var (
	// ErrPending: the release is in the middle of a rewrite, this one or an
	// earlier one, that was interrupted or failed; [Recover] ends it.
	ErrPending = txn.ErrPending
	// ErrBusy: another process is rewriting the release.
	ErrBusy = txn.ErrBusy
	// ErrChanged: a file is no longer what it was when the job was prepared.
	ErrChanged = txn.ErrChanged
)

// ErrElsewhere is matched by the error of a rewrite in place of what is not on this
// machine's file system, and can be read alone.
var ErrElsewhere = errors.New("it is read where it is, and cannot be changed there")

// isElsewhere reports that a reference is not a path on this machine.
func isElsewhere(ref string) bool { return source.Scheme(ref) != "" }

// refuseElsewhere is the error, with the two ways that there are.
func refuseElsewhere(ref string) error {
	return fmt.Errorf("%s: %w; write a new release with -o, or change a copy on this machine: %s", ref, ErrElsewhere, remote.Download(ref))
}

// A RecoveryError says that a rewrite stopped half-way and that its journal was
// kept: until [Recover] has ended it, the release is part old and part new. It is
// an [ErrPending].
type RecoveryError struct {
	Dir string // that holds the journal
	Err error
}

func (e *RecoveryError) Error() string { return e.Err.Error() }

// Unwrap returns the reason, and ErrPending.
func (e *RecoveryError) Unwrap() []error { return []error{e.Err, ErrPending} }

// public gives an error of a transaction the type that callers can name.
func public(err error) error {
	var e *txn.RecoveryError
	if errors.As(err, &e) {
		return &RecoveryError{e.Dir, err}
	}
	return err
}

// An Outcome is what a recovery did.
type Outcome string

// The outcomes of a recovery.
const (
	// Nothing: there was nothing to recover.
	Nothing = Outcome(txn.Nothing)
	// Undone: the release is what it was before the rewrite.
	Undone = Outcome(txn.Undone)
	// Finished: the release is what the rewrite was to make of it.
	Finished = Outcome(txn.Finished)
)

// Pending reports whether a rewrite of the release at ref, a directory or
// one of its files, is under way or was interrupted, and the directory whose
// journal says so: that of ref, or one above it. What is read of the release
// meanwhile may be part old and part new.
func Pending(ref string) (dir string, pending bool) {
	if isElsewhere(ref) {
		return "", false
	}
	dir = txn.Pending(txn.OS{}, ref)
	return dir, dir != ""
}

// Recover ends an interrupted rewrite of the release at ref, a directory or
// one of its files. Afterwards the release is the old one or the new one,
// whole. It fails with [ErrBusy] while the rewrite is still running. A
// recovery that fails, or is interrupted, can be repeated.
//
// A journal that is not about the files beside it is refused. With force it is
// followed all the same, where names, sizes and contents fit: for a release
// that was moved to another file system after it was interrupted.
func Recover(ctx context.Context, ref string, force bool) (Outcome, error) {
	if isElsewhere(ref) {
		return Nothing, nil
	}
	out, err := txn.Recover(ctx, txn.OS{}, ref, force)
	return Outcome(out), public(err)
}
