package remote

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wtinspect/wtinspect/internal/stores"
)

const (
	// The first request for a file takes so much. It is the header of most
	// safetensors files; one of GGUF has a vocabulary in it.
	firstSafetensors = 128 << 10
	firstGGUF        = 1 << 20
	firstTorch       = 256 << 10 // the pickle of some 1,700 tensors
	firstOther       = 64 << 10

	// The least and the most that a later request takes, unless the reader asks
	// for more. Readers that go on where they were get twice as much each time.
	leastBlock = 64 << 10
	mostBlock  = 8 << 20

	// What is behind the bytes that are asked for is often small and looked at next, as the
	// member that torch writes behind a pickle.
	behind = 4 << 10

	// mostAsked bounds one request: a reader of more gets it in pieces.
	mostAsked = 64 << 20

	// mostWhole is how much is read of a server that knows no ranges.
	mostWhole = 32 << 20

	// mostText is how large a document may be to be read whole when it is first
	// looked at: a shard index may have 250 MB.
	mostText = 250_000_000

	// mostKept is how much is kept of all files of a client.
	mostKept = 256 << 20
)

// A file is bytes on a server, which are read in ranges. What was read is kept, so
// that a header costs one request. It may be used by several goroutines.
type file struct {
	client *Client
	// ref is what errors call it.
	ref string
	// url is where to ask.
	url *url.URL
	// hint is how long the headers of the files beside it are.
	hint *hint
	// recall, when it is not nil, looks for what an earlier run kept of the file at a
	// commit that is learnt on the way to it, and puts it in.
	recall func(commit string)

	mu sync.Mutex
	// size is -1 until it is known, and digest is what a listing has of the file.
	size   int64
	digest string
	// location is where the hub's redirect led, and signs for; tag and modified are
	// what that server says of the state of the file, and linked what the hub does.
	location              *url.URL
	tag, modified, linked string
	// commit is the one that the hub says the file is of.
	commit string
	blocks []*block
	busy   []*fetching
}

// A block is bytes that are kept.
type block struct {
	off  int64
	data []byte
}

func (b *block) end() int64 { return b.off + int64(len(b.data)) }

// A fetching is a request that is under way.
type fetching struct {
	start, end int64
	done       chan struct{}
}

// A hint is how far the headers of files go that were made alike.
type hint struct{ reach atomic.Int64 }

func (h *hint) note(end int64) {
	for {
		old := h.reach.Load()
		if end <= old || h.reach.CompareAndSwap(old, end) {
			return
		}
	}
}

// first returns how much the first request for a file takes.
func (f *file) first() int64 {
	switch strings.ToLower(path.Ext(f.url.Path)) {
	case ".gguf":
		return firstGGUF
	case ".safetensors":
		if reach := f.hint.reach.Load(); reach > 0 {
			const page = 4 << 10
			return max(4*page, min((reach+reach/4)/page*page, 2*firstSafetensors))
		}
		return firstSafetensors
	}
	if isTorch(f.url.Path) {
		return firstTorch
	}
	return firstOther
}

// isText reports that the file is a document, which is read whole and compresses
// well.
func (f *file) isText() bool {
	switch strings.ToLower(path.Ext(f.url.Path)) {
	case ".json", ".md", ".txt", ".yaml", ".yml", ".jinja", ".py":
		return true
	}
	return false
}

// open asks for the beginning when the size is not known.
func (f *file) open(ctx context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.size < 0 {
		if err := f.fetch(ctx, 0, f.first(), 1); err != nil && !errors.Is(err, errKnown) {
			return 0, err
		}
	}
	return f.size, nil
}

// readAt reads into p at off, as io.ReaderAt does.
func (f *file) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("a negative offset")
	}
	if _, err := f.open(ctx); err != nil {
		return 0, err
	}
	if off == 8 { // behind the length of a safetensors header: all of the header
		f.hint.note(min(8+int64(len(p)), f.size))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= f.size {
			return n, io.EOF
		}
		if b := f.at(at); b != nil {
			n += copy(p[n:], b.data[at-b.off:])
			continue
		}
		end := at + min(int64(len(p)-n), f.size-at) // a size that lies may be near what an int64 holds
		if err := f.fetch(ctx, at, f.ahead(at, end), end); err != nil {
			return n, err
		}
	}
	return n, nil
}

// readAhead reads n bytes at off, which will be read piece by piece, as far as they are in the file.
func (f *file) readAhead(ctx context.Context, off, n int64) error {
	if _, err := f.open(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end := off + min(n, max(f.size-off, 0))
	for at := off; at < end; {
		if b := f.at(at); b != nil {
			at = b.end()
			continue
		}
		if err := f.fetch(ctx, at, f.ahead(at, end), end); err != nil {
			return err
		}
	}
	return nil
}

// at returns the block that holds a byte.
func (f *file) at(off int64) *block {
	for _, b := range f.blocks {
		if b.off <= off && off < b.end() {
			return b
		}
	}
	return nil
}

// ahead returns where a request that begins at a place should end, for a reader
// of the bytes up to end.
func (f *file) ahead(at, end int64) int64 {
	var n int64
	switch {
	case at == 0 && f.isText() && f.size <= mostText:
		return f.size
	case at == 0:
		n = f.first()
	default:
		n = leastBlock
		for _, b := range f.blocks { // that this reader was at, or skips from
			if length := int64(len(b.data)); b.end() <= at && at-b.end() < length {
				n = max(n, min(2*length, mostBlock))
			}
		}
	}
	end = at + min(max(end-at+behind, n), mostAsked, f.size-at)
	for _, b := range f.blocks { // which need not be read again
		if at < b.off && b.off < end {
			end = b.off
		}
	}
	return end
}

// fetch reads the bytes [start, end), of which those up to need are needed, or waits
// for somebody who does. It is called with the lock, and lets go of it meanwhile.
func (f *file) fetch(ctx context.Context, start, end, need int64) error {
	for _, other := range f.busy {
		if other.start <= start && start < other.end {
			f.mu.Unlock()
			defer f.mu.Lock()
			select {
			case <-other.done: // what it read is kept, or is asked for again
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if start < other.start && other.start < end {
			end = other.start
		}
	}
	mine := &fetching{start, end, make(chan struct{})}
	f.busy = append(f.busy, mine)
	f.mu.Unlock()
	b, err := f.read(ctx, start, end)
	f.mu.Lock()
	for i, other := range f.busy {
		if other == mine {
			f.busy = append(f.busy[:i], f.busy[i+1:]...)
			break
		}
	}
	close(mine.done)
	if b != nil {
		f.keep(b)
	}
	if err != nil && b != nil && b.end() >= need {
		return nil
	}
	return err
}

// keep keeps a block, and lets go of old ones of any file when there are too many.
func (f *file) keep(b *block) {
	if len(b.data) == 0 {
		return
	}
	f.blocks = append(f.blocks, b)
	for _, old := range f.client.kept.add(f, b) {
		if old.file == f {
			f.drop(old.block)
			continue
		}
		go func() { // its lock may be held by who waits for this one
			old.file.mu.Lock()
			defer old.file.mu.Unlock()
			old.file.drop(old.block)
		}()
	}
}

func (f *file) drop(b *block) {
	for i, own := range f.blocks {
		if own == b {
			f.blocks = append(f.blocks[:i], f.blocks[i+1:]...)
			return
		}
	}
}

// A budget bounds what is kept of all files.
type budget struct {
	mu   sync.Mutex
	list []kept
	held int64
}

type kept struct {
	file  *file
	block *block
}

// add counts a block, and returns those to let go of, the oldest first.
func (k *budget) add(f *file, b *block) (old []kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, kept{f, b})
	k.held += int64(len(b.data))
	for k.held > mostKept && len(k.list) > 1 {
		old = append(old, k.list[0])
		k.held -= int64(len(k.list[0].block.data))
		k.list = k.list[1:]
	}
	return old
}

// read asks for a range until it is complete. A body that ends early is gone on
// with where it ended. With an error there may be a part of the block.
func (f *file) read(ctx context.Context, start, end int64) (*block, error) {
	out := &block{off: start}
	for failed := 0; ; failed++ {
		had := len(out.data)
		err := f.ask(ctx, out, end)
		f.mu.Lock()
		at := cmp.Or(f.location, f.url)
		if f.size >= 0 {
			end = min(end, f.size)
		}
		f.mu.Unlock()
		switch {
		case err == nil && out.end() >= end:
			return out, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && !errors.Is(err, errBroken):
			return nil, err
		case len(out.data)-had >= leastBlock: // less than that could go on for ever
			failed = 0
		case failed == attempts-1:
			return out, fmt.Errorf("%s: byte %d: %w", f.ref, out.end(), errBroken)
		}
		if err := f.client.pauseBroken(ctx, at, failed); err != nil {
			return nil, err
		}
	}
}

// errBroken is an answer that ended before its end.
var errBroken = errors.New("the connection breaks off, again and again; try again later")

// ask makes one request for the rest of a block, and adds what it brings.
func (f *file) ask(ctx context.Context, out *block, end int64) error {
	f.mu.Lock()
	size, location, text := f.size, f.location, f.isText()
	f.mu.Unlock()
	rq := request{url: f.url, ref: f.ref, start: out.end(), end: end}
	if location != nil {
		rq.url = location
	}
	// The whole of a large document comes compressed. Ranges are of no use then.
	if text && len(out.data) == 0 && out.off == 0 && end == size && size > leastBlock {
		rq.gzip, rq.end = true, 0
	}
	if f.recall != nil && size < 0 {
		rq.known = func(h http.Header) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.recall(h.Get("X-Repo-Commit"))
			return f.size >= 0
		}
	}
	a, err := f.client.get(ctx, rq)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if location != nil && (a.StatusCode == http.StatusForbidden || a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusGone || a.StatusCode == http.StatusNotFound) {
		// The signature has expired: the hub gives another.
		f.mu.Lock()
		if f.location == location {
			f.location = nil
		}
		f.mu.Unlock()
		a.Body.Close()
		return f.ask(ctx, out, end)
	}
	whole := false
	total := int64(-1)
	switch a.StatusCode {
	case http.StatusPartialContent:
		if total, err = contentRange(a); err != nil {
			return f.wrong("%v", err)
		}
	case http.StatusOK:
		whole = true
		if a.encoding() == "" {
			total = a.ContentLength
		}
	case http.StatusRequestedRangeNotSatisfiable:
		total, err = contentRange(a)
		if err == nil && total == 0 && rq.start == 0 {
			return f.learn(a, 0)
		}
		return f.wrong("it has no byte %d: it has changed, or the size that %s gives is wrong", rq.start, f.client.endpoint.Host)
	default:
		e := f.client.failure(a)
		e.Ref = f.ref
		return e
	}
	body := io.Reader(a.Body)
	switch encoding := a.encoding(); {
	case encoding == "":
	case encoding == "gzip" && rq.gzip && whole:
		z, err := gzip.NewReader(body)
		if err != nil {
			return f.wrong("%s sends what is not gzip", a.url.Host)
		}
		body, total = z, -1
	default:
		return f.wrong("%s sends it with the encoding %.20q, which was not asked for", a.url.Host, encoding)
	}
	if err := f.learn(a, total); err != nil {
		return err
	}
	f.mu.Lock()
	size = f.size
	f.mu.Unlock()
	switch {
	case whole:
		err = f.readWhole(a, body, out, end, size, rq.gzip)
	case size < 0:
		err = f.wrong("%s does not say how large it is", a.url.Host)
	default:
		err = fill(out, body, min(end, size), a)
	}
	if rq.start == 0 && isPage(a, out.data) {
		return f.wrong("%s sends a web page in its place; does the network, or the server, ask to log in?", a.url.Host)
	}
	return err
}

// isPage reports whether an answer is for people: proxies, networks and servers that
// want a login send a page with the status of success. No model begins like one.
func isPage(a *answer, data []byte) bool {
	return strings.Contains(strings.ToLower(a.Header.Get("Content-Type")), "html") && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n\ufeff"), []byte("<"))
}

// readWhole takes what is needed of an answer that begins at the beginning,
// though a range was asked for.
func (f *file) readWhole(a *answer, body io.Reader, out *block, end, size int64, asked bool) error {
	if size < 0 { // nothing says it but the end
		data, err := io.ReadAll(io.LimitReader(body, mostWhole+1))
		switch {
		case len(data) > mostWhole:
			return f.wrong("%s does not say how large it is, and sends more than %d MiB; download it", a.url.Host, mostWhole>>20)
		case err != nil:
			return broken(err)
		}
		if err := f.learn(a, int64(len(data))); err != nil {
			return err
		}
		out.data = data[min(out.off, int64(len(data))):]
		return nil
	}
	end = min(end, size)
	if size <= mostWhole {
		end = size
	}
	if end > mostWhole && !asked {
		return f.wrong("%s sends all of its %d bytes, whatever part is asked for; download it", a.url.Host, size)
	}
	if skip := out.end(); skip > 0 {
		if _, err := io.CopyN(io.Discard, body, skip); err != nil {
			return broken(err)
		}
	}
	if err := fill(out, body, end, a); err != nil || end < size {
		return err
	}
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return f.wrong("%s sends more than the %d bytes that it has", a.url.Host, size)
	}
	return nil
}

// fill adds bytes to a block up to end. A range without Content-Range must have
// as many as were asked for.
func fill(out *block, body io.Reader, end int64, a *answer) error {
	exact := a.StatusCode == http.StatusPartialContent && a.Header.Get("Content-Range") == ""
	inexact := fmt.Errorf("%s: %s does not say which bytes it sends, and they are not as many as were asked for", a.rq.ref, a.url.Host)
	if exact && a.ContentLength >= 0 && a.ContentLength != end-out.end() {
		return inexact
	}
	// Memory is taken as bytes come, so that a size that lies costs nothing.
	const step = 1 << 20
	for out.end() < end {
		n := int(min(end-out.end(), step))
		out.data = slices.Grow(out.data, n)
		got, err := io.ReadFull(body, out.data[len(out.data):len(out.data)+n])
		out.data = out.data[:len(out.data)+got]
		switch {
		case err == nil:
		case exact && (err == io.EOF || err == io.ErrUnexpectedEOF):
			return inexact
		default:
			return broken(err)
		}
	}
	if n, _ := io.ReadFull(body, make([]byte, 1)); exact && n > 0 {
		return inexact
	}
	return nil
}

func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBroken
	}
	return fmt.Errorf("%w (%w)", errBroken, err)
}

// contentRange reads bytes A-B/TOTAL or bytes */TOTAL, and compares it with what
// was asked for. Total is -1 when it is not said. Mirrors leave the header out.
func contentRange(a *answer) (total int64, err error) {
	s := a.Header.Get("Content-Range")
	if s == "" {
		return -1, nil
	}
	bad := fmt.Errorf("%s sends a Content-Range that is none: %.60q", a.url.Host, s)
	s, ok := strings.CutPrefix(s, "bytes ")
	span, all, cut := strings.Cut(s, "/")
	if !ok || !cut {
		return 0, bad
	}
	total = -1
	if all != "*" {
		if total, err = strconv.ParseInt(all, 10, 64); err != nil || total < 0 {
			return 0, bad
		}
	}
	if span == "*" {
		return total, nil
	}
	first, last, cut := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	switch {
	case !cut || err1 != nil || err2 != nil || start < 0 || end < start || end == math.MaxInt64 || total >= 0 && end >= total:
		return 0, bad
	case start != a.rq.start:
		return 0, fmt.Errorf("%s sends the bytes from %d on, where those from %d were asked for", a.url.Host, start, a.rq.start)
	case a.rq.end > 0 && end >= a.rq.end:
		return 0, fmt.Errorf("%s sends more than the bytes asked for: %.60q", a.url.Host, s)
	}
	return total, nil
}

func (f *file) wrong(format string, args ...any) error {
	return &Error{Ref: f.ref, Text: fmt.Sprintf(format, args...)}
}

// learn takes from an answer what the file is, and compares it with what is
// known. Total is what this answer says of the size, or -1.
func (f *file) learn(a *answer, total int64) error {
	linkedSize := int64(-1)
	if s := a.header("X-Linked-Size"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return f.wrong("%s gives it a size that is none: %.40q", a.url.Host, s)
		}
		linkedSize = n
	}
	linked := cleanTag(a.header("X-Linked-ETag"))
	tag, modified := cleanTag(a.Header.Get("ETag")), a.Header.Get("Last-Modified")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range []int64{linkedSize, total} {
		switch {
		case n < 0:
		case f.size < 0:
			f.size = n
		case f.size != n:
			return f.wrong("its size is %d bytes, and now %s says %d: it has changed while it was read, or one of the two is wrong; try again", f.size, a.url.Host, n)
		}
	}
	switch {
	case linked == "":
	case f.linked != "" && f.linked != linked:
		return f.wrong("it has changed while it was read; try again")
	case f.digest != "" && len(linked) == len(f.digest) && linked != f.digest:
		return f.wrong("the listing says its SHA-256 is %s, and the file is another, %s; try again", f.digest, linked)
	default:
		f.linked = linked
	}
	if f.commit == "" {
		f.commit = a.header("X-Repo-Commit")
	}
	if f.location == nil && !sameOrigin(a.url, f.url) {
		f.location, f.tag, f.modified = a.url, "", ""
	}
	if a.encoding() != "" { // the tag is that of the compressed form
		return nil
	}
	// Servers behind one name, and caches, do not all send both, or make one of them weak.
	tagged := f.tag != "" && tag != ""
	if tagged && f.tag != tag || !tagged && f.modified != "" && modified != "" && f.modified != modified {
		return f.wrong("it has changed while it was read; try again")
	}
	f.tag, f.modified = cmp.Or(f.tag, tag), cmp.Or(f.modified, modified)
	return nil
}

// sha256 is what the hub says of a large file, "" of another.
func (f *file) sha256() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if tag := cmp.Or(f.digest, f.linked); stores.IsSHA256(tag) {
		return tag
	}
	return ""
}

// cleanTag takes W/ and quotes off an ETag.
func cleanTag(s string) string { return strings.Trim(strings.TrimPrefix(s, "W/"), `"`) }

// A reader is a file as one who opened it reads it.
type reader struct {
	*file
	ctx  context.Context
	size int64
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) { return r.readAt(r.ctx, p, off) }
func (r *reader) ReadAhead(off, n int64) error            { return r.readAhead(r.ctx, off, n) }
func (r *reader) Size() int64                             { return r.size }
func (r *reader) Name() string                            { return r.ref }
func (r *reader) Close() error                            { return nil }

// source opens a file.
func (f *file) source(ctx context.Context) (*reader, error) {
	size, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	return &reader{f, ctx, size}, nil
}
