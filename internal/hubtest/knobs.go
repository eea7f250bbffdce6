package hubtest

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Knobs are the ways in which hubs, mirrors and second hosts differ and fail. The
// zero value is a hub that is well.
type Knobs struct {
	// Latency is how long every answer takes to begin.
	Latency time.Duration
	// Pages is how many entries a page of a listing has; 1000 when it is 0.
	Pages int
	// PlainSiblings leaves out the sizes of /revision, as mirrors do that know no
	// blobs=true.
	PlainSiblings bool

	// Relative answers small files with a relative redirect that has a query.
	Relative bool
	// Gzip compresses small texts where a client takes that, and ignores the range
	// then.
	Gzip bool
	// NoRange answers every range with the whole file.
	NoRange bool
	// NoContentRange and NoLength leave out headers of mirrors.
	NoContentRange, NoLength bool
	// NoCommit leaves out X-Repo-Commit.
	NoCommit bool
	// NoLinked leaves out X-Linked-Size and X-Linked-ETag.
	NoLinked bool
	// MirrorLinks has Location and Link name https://huggingface.co for the hub.
	MirrorLinks bool
	// CDN is in place of the second host's address in Location.
	CDN string
	// Absolute sends a redirect to this address instead of the second host.
	Absolute string

	// ListedSize and LinkedSize are added to the sizes of listings and of
	// X-Linked-Size; RangeTotal to the total of Content-Range; PointerSize to what
	// listings have of git's pointers.
	ListedSize, LinkedSize, RangeTotal, PointerSize int
	// WrongRange shifts where Content-Range says that a range begins.
	WrongRange int
	// ShortRange takes bytes off the end of every range; LongRange adds some.
	ShortRange, LongRange int
	// Endless goes on after the end of every body, for as long as somebody reads.
	Endless bool
	// Stall stops every body half way, and leaves the connection open.
	Stall bool
	// Loop redirects resolve to itself.
	Loop bool
	// EvilNames adds names to listings that lead out of a directory.
	EvilNames bool
	// BadXet redacts the xetHash of listings.
	BadXet bool
	// ChangeTag gives every answer another ETag.
	ChangeTag bool
	// Warning is what the hub has to say, "topic; text", with every answer.
	Warning string
	// Repeat has the pages of an author's models lead to the first one, without an end.
	Repeat bool
	// HTML answers with a page and 200, as some proxies do.
	HTML bool

	// Flaky answers the first requests for every URL, so many, with 503; Status
	// with another code.
	Flaky, Status int
	// Cut ends the first body of every URL after so many bytes; CutAll every body.
	Cut    int
	CutAll bool
	// From has ChangeTag, Cut and Stall spare ranges that begin before this byte.
	From int
	// Rate is how many requests there are in a window; then comes 429. Wait is how
	// many seconds it asks to wait.
	Rate, Wait int
	// Quota is how many requests each bucket allows in a window of 300 seconds, or of
	// Window, by [Hub.Clock]; more are answered with 429.
	Quota, Window int
	// RetryAfter has a 429 without the headers of the hub ask for so many seconds.
	RetryAfter int
	// Uses is how often a signed link serves; then comes 403.
	Uses int
}

// set changes the knob of a word: "gzip", "pages=2", "latency=30ms".
func (k *Knobs) set(word string) error {
	name, value, has := strings.Cut(word, "=")
	v := reflect.ValueOf(k).Elem()
	for i := range v.NumField() {
		if hyphened(v.Type().Field(i).Name) != name {
			continue
		}
		f := v.Field(i)
		switch p := f.Addr().Interface().(type) {
		case *bool:
			*p = !has || value == "true"
			return nil
		case *string:
			*p = value
			return nil
		case *int:
			n, err := strconv.Atoi(value)
			*p = n
			return err
		case *time.Duration:
			d, err := time.ParseDuration(value)
			*p = d
			return err
		}
	}
	return fmt.Errorf("hubtest: no knob %q", word)
}

// hyphened spells a field's name as a word: NoContentRange is no-content-range.
func hyphened(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
