package source

import (
	"context"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// A Place is a tree of files that a release may lie in: the file system of this
// machine, or what a server has. References are those that the user wrote, and
// what [Join] makes of them. What is not there is [fs.ErrNotExist].
type Place interface {
	// Stat describes what a reference leads to.
	Stat(ctx context.Context, ref string) (fs.FileInfo, error)
	// ReadDir lists a directory in the order of the names.
	ReadDir(ctx context.Context, ref string) ([]fs.DirEntry, error)
	// Open opens a regular file to be read at any offset.
	Open(ctx context.Context, ref string) (Source, error)
}

// A Normalizer is a place that gives the references users write the form that
// [Join] and [Dir] work on, which may be of another scheme.
type Normalizer interface {
	Normalize(ref string) (string, error)
}

// Normalize returns a reference as the place of its scheme writes it. Unless a local file
// has that name, a scheme may lack its slashes (ollama:llama3), and the address of a page of
// a hub its scheme (hf.co/org/name).
func Normalize(ctx context.Context, ref string) (string, error) {
	scheme := Scheme(ref)
	if scheme == "" {
		before, _, ok := strings.Cut(ref, ":")
		host, _, below := strings.Cut(ref, "/")
		below = below && strings.Contains(strings.Trim(host, "."), ".")
		if !ok && !below {
			return ref, nil
		}
		if _, err := os.Lstat(ref); err == nil {
			return ref, nil
		}
		if below {
			return address(ctx, ref)
		}
		scheme = strings.ToLower(before)
	}
	if n, ok := ctx.Value(placeKey{scheme}).(Normalizer); ok {
		return n.Normalize(ref)
	}
	return ref, nil
}

// address returns the reference that an address without its scheme is of, where that is
// the page of a hub. Of a page that shows no file the error says so; what is at another
// host is a path.
func address(ctx context.Context, text string) (string, error) {
	place := ctx.Value(placeKey{"https"})
	n, ok := place.(Normalizer)
	if !ok {
		return text, nil
	}
	ref, err := n.Normalize("https://" + text)
	if err == nil && Scheme(ref) != "https" {
		return ref, nil
	}
	if pages, ok := place.(interface{ IsPage(text string) bool }); ok && pages.IsPage(text) {
		return text, err
	}
	return text, nil
}

// A Publication is what a hub says of a release before a byte of it is read.
type Publication struct {
	// ID is what the repository is called, and Commit its state, "" where the hub
	// does not say it.
	ID, Commit string
	// Modified is when it was last changed, the zero time where the hub does not say it.
	Modified time.Time
	// Files are those of the repository below the reference, by their paths below
	// it, in order.
	Files []Entry
	// Refused are paths that the hub lists and that cannot be those of files in it.
	Refused []Refusal
	// Parameters counts the elements of the safetensors files by dtype, nil where
	// the hub did not.
	Parameters map[string]uint64
}

// A Publisher is a place that knows what it publishes.
type Publisher interface {
	Publication(ctx context.Context, ref string) (*Publication, error)
}

// Published returns what the place of a directory says of it, nil where the place
// knows no more than the files.
func Published(ctx context.Context, dir string) (*Publication, error) {
	p, err := placeOf(ctx, dir)
	if err != nil {
		return nil, err
	}
	if p, ok := p.(Publisher); ok {
		return p.Publication(ctx, dir)
	}
	return nil, nil
}

// A Versioned place has states that do not change, and names for them.
type Versioned interface {
	// Revision returns the commit at which something was read, "" for nothing.
	Revision(ref string) string
}

// A Catalogue is a place that lists the releases which some references mean.
type Catalogue interface {
	// Catalogue yields the references of the releases, and an error of what cannot be
	// listed. It is false for a reference that means itself.
	Catalogue(ctx context.Context, ref string) (iter.Seq2[string, error], bool)
}

// Catalogued returns the releases that a reference to a place means, false when it means
// itself.
func Catalogued(ctx context.Context, ref string) (iter.Seq2[string, error], bool) {
	if c, ok := ctx.Value(placeKey{Scheme(ref)}).(Catalogue); ok {
		return c.Catalogue(ctx, ref)
	}
	return nil, false
}

// Forget says that nothing more is read of a reference: its place need not keep what it
// knows of it.
func Forget(ctx context.Context, ref string) {
	if p, ok := ctx.Value(placeKey{Scheme(ref)}).(interface{ Forget(ref string) }); ok {
		p.Forget(ref)
	}
}

// Revision returns the commit at which a reference was read, "" where there are
// none, or where the place does not know it.
func Revision(ctx context.Context, ref string) string {
	if p, ok := ctx.Value(placeKey{Scheme(ref)}).(Versioned); ok {
		return p.Revision(ref)
	}
	return ""
}

// Away reports whether the bytes of a file are read from another machine.
func Away(ctx context.Context, ref string) bool {
	p, ok := ctx.Value(placeKey{Scheme(ref)}).(interface{ Away(ref string) bool })
	return ok && p.Away(ref)
}

type placeKey struct{ scheme string }

// With returns a context under which references of a scheme are read in a place.
// A context has it and not a release, so that whoever reads a file beside the
// weights reads it where they are.
func With(ctx context.Context, scheme string, p Place) context.Context {
	return context.WithValue(ctx, placeKey{scheme}, p)
}

// placeOf returns the place of a reference. Those without a scheme are local.
func placeOf(ctx context.Context, ref string) (Place, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	scheme := Scheme(ref)
	if scheme == "" {
		return local{}, nil
	}
	if p, ok := ctx.Value(placeKey{scheme}).(Place); ok {
		return p, nil
	}
	return nil, &UnsupportedError{Ref: ref, Scheme: scheme}
}

// Open opens a file. A local one may be a symbolic link to a file; anything but a
// regular file is refused, since a pipe would block and a device has no size. A
// scheme without a place is an [*UnsupportedError].
func Open(ctx context.Context, ref string) (Source, error) {
	p, err := placeOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, ref)
}

// Stat describes what a reference leads to.
func Stat(ctx context.Context, ref string) (fs.FileInfo, error) {
	p, err := placeOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	return p.Stat(ctx, ref)
}

// ReadDir lists a directory in the order of the names.
func ReadDir(ctx context.Context, ref string) ([]fs.DirEntry, error) {
	p, err := placeOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	return p.ReadDir(ctx, ref)
}

// Opens returns how many files of the place of a reference are worth opening at
// once, because each is waited for; 0 where that depends on this machine.
func Opens(ctx context.Context, ref string) int {
	p, err := placeOf(ctx, ref)
	if p, ok := p.(interface{ Opens() int }); ok && err == nil {
		return p.Opens()
	}
	return 0
}

// Exists reports whether a reference leads to something.
func Exists(ctx context.Context, ref string) bool {
	_, err := Stat(ctx, ref)
	return err == nil
}

// IsDir reports whether a reference leads to a directory.
func IsDir(ctx context.Context, ref string) bool {
	fi, err := Stat(ctx, ref)
	return err == nil && fi.IsDir()
}

// Lstat describes a reference itself, which may be a symbolic link. Only local
// ones are.
func Lstat(ctx context.Context, ref string) (fs.FileInfo, error) {
	if Scheme(ref) != "" {
		return Stat(ctx, ref)
	}
	return os.Lstat(ref)
}

// Resolve returns a local path without symbolic links, and other references as
// they are.
func Resolve(ref string) (string, error) {
	if Scheme(ref) != "" {
		return ref, nil
	}
	return filepath.EvalSymlinks(ref)
}

// Join returns the reference of a file below a directory. Name has slashes, or
// what the system has in their place.
func Join(dir, name string) string {
	scheme, rest, ok := cutScheme(dir)
	if !ok {
		return filepath.Join(dir, name)
	}
	return scheme + path.Join(rest, filepath.ToSlash(name))
}

// Dir returns the directory that a reference stands in.
func Dir(ref string) string {
	scheme, rest, ok := cutScheme(ref)
	if !ok {
		return filepath.Dir(ref)
	}
	return scheme + path.Dir(rest)
}

// cutScheme takes "hf://" off the beginning of a reference.
func cutScheme(ref string) (scheme, rest string, ok bool) {
	if Scheme(ref) == "" {
		return "", ref, false
	}
	n := strings.Index(ref, "://") + len("://")
	return ref[:n], ref[n:], true
}
