// Command release builds what a release of wtinspect consists of: archives for every
// platform, Debian packages, a list of what is linked into each program, a formula for
// Homebrew, a manifest for Scoop, and the digests of all of them.
//
// The same commit, version and Go release give the same bytes, on any machine and in
// any directory. It needs Go and git, and is run from the root of the module:
//
//	go run ./internal/release -version v0.1.0
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	repository = "https://github.com/wtinspect/wtinspect"
	summary    = "inspect, compare, rename and judge model weights"
)

// A platform is what a program is built for.
type platform struct{ os, arch string }

var platforms = []platform{
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
}

// executable is what a program is called on the platform.
func (p platform) executable(name string) string {
	if p.os == "windows" {
		return name + ".exe"
	}
	return name
}

// archive is the name of a platform's archive; what downloads a release relies on it.
func (p platform) archive(number string) string {
	name := "wtinspect_" + number + "_" + p.os + "_" + p.arch
	if p.os == "windows" {
		return name + ".zip"
	}
	return name + ".tar.gz"
}

// A release is what its files are made from.
type release struct {
	version string // v0.1.0
	commit  string
	time    time.Time
}

// number is the version as file names have it: 0.1.0.
func (r release) number() string { return strings.TrimPrefix(r.version, "v") }

func main() {
	var r release
	var dir string
	flag.StringVar(&r.version, "version", "", "the `VERSION` to build: v1.2.3, or v1.2.3-rc.1")
	flag.StringVar(&r.commit, "commit", "", "the `COMMIT` that the source is of, if git cannot say it; SOURCE_DATE_EPOCH is its time")
	flag.StringVar(&dir, "o", "dist", "write to the directory `DIR`")
	flag.Parse()
	if err := run(r, dir); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// Go takes other versions for those of no release: https://go.dev/ref/mod#versions.
var semantic = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)

func run(r release, dir string) error {
	if !semantic.MatchString(r.version) {
		return fmt.Errorf("version %q is not of the form v1.2.3 or v1.2.3-rc.1", r.version)
	}
	if err := r.date(); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "wtinspect-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	result, err := r.build(work)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, f := range result {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o666); err != nil {
			return err
		}
		fmt.Printf("%11d  %s\n", len(f.data), filepath.Join(dir, f.name))
	}
	return nil
}

// date finds out which commit is built and when it was made. The source must be what
// the commit has.
func (r *release) date() error {
	if r.commit == "" {
		changed, err := output("git", "status", "--porcelain")
		if err != nil {
			return fmt.Errorf("%w: without git, name the commit with -commit", err)
		}
		if changed != "" {
			return fmt.Errorf("the source is not what the commit has; commit or remove:\n%s", changed)
		}
		if r.commit, err = output("git", "rev-parse", "HEAD"); err != nil {
			return err
		}
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH") // https://reproducible-builds.org/specs/source-date-epoch
	if epoch == "" {
		var err error
		if epoch, err = output("git", "show", "--no-patch", "--format=%ct", r.commit); err != nil {
			return fmt.Errorf("%w: without git, set SOURCE_DATE_EPOCH to the time of the commit", err)
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	return nil
}

// build returns every file of the release.
func (r release) build(work string) ([]file, error) {
	host, err := r.compile(work, platform{runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	completions, pages, err := printed(host.path)
	if err != nil {
		return nil, err
	}
	var programs []program
	modules := map[string]module{}
	for _, p := range platforms {
		prog, err := r.compile(work, p)
		if err != nil {
			return nil, err
		}
		programs = append(programs, prog)
		for _, b := range prog.both() {
			for _, m := range b.modules {
				modules[m.path] = m
			}
		}
	}
	linked := slices.SortedFunc(maps.Values(modules), func(a, b module) int { return strings.Compare(a.path, b.path) })

	documents := []file{{name: "THIRD-PARTY-LICENSES", data: licences(linked)}}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		documents = append(documents, file{name: name, data: data})
	}
	var result []file
	add := func(name string, data []byte, err error) error {
		result = append(result, file{name: name, data: data})
		return err
	}
	for _, prog := range programs {
		files := slices.Concat(prog.executables(), documents, completions, pages)
		name := prog.archive(r.number())
		pack := tarGz
		if prog.os == "windows" {
			pack = zipped
		}
		data, err := pack(files, r.time)
		if err := add(name, data, err); err != nil {
			return nil, err
		}
		data, err = r.bom(prog, name)
		if err := add(name+".spdx.json", data, err); err != nil {
			return nil, err
		}
		if prog.os == "linux" {
			pkg := r.debian(prog, documents, completions, pages)
			data, err := pkg.build(r.time)
			if err := add(pkg.fileName(), data, err); err != nil {
				return nil, err
			}
		}
	}
	filled, err := r.manifests(result)
	if err != nil {
		return nil, err
	}
	result = append(result, filled...)
	return append(result, file{name: "SHA256SUMS", data: sums(result)}), nil
}

// A program is wtinspect, built for one platform. What only it needs that writes Parquet
// is in a program of its own, which wtinspect starts.
type program struct {
	platform
	binary
	parquet binary
}

// A binary is what the linker made.
type binary struct {
	name    string // without the platform's ending
	path    string
	data    []byte
	modules []module
	goBuild string // the Go release that built it
}

func (p program) both() []binary { return []binary{p.binary, p.parquet} }

// executables are the files that are run.
func (p program) executables() []file {
	var list []file
	for _, b := range p.both() {
		list = append(list, file{name: p.executable(b.name), data: b.data, executable: true})
	}
	return list
}

// compile builds the program.
func (r release) compile(work string, p platform) (prog program, err error) {
	prog.platform = p
	if prog.binary, err = r.link(work, p, "wtinspect"); err == nil {
		prog.parquet, err = r.link(work, p, "wtinspect-parquet", "-tags=parquet")
	}
	if err != nil {
		return prog, fmt.Errorf("%s/%s: %w", p.os, p.arch, err)
	}
	return prog, nil
}

// link makes a binary. What of the environment would change it is set.
func (r release) link(work string, p platform, name string, flags ...string) (binary, error) {
	b := binary{name: name, path: filepath.Join(work, p.os+"-"+p.arch+"-"+p.executable(name))}
	ldflags := "-s -w -buildid= -X main.releaseVersion=" + r.version + " -X main.releaseCommit=" + r.commit
	args := slices.Concat([]string{"build", "-trimpath", "-buildvcs=false", "-mod=readonly"}, flags, []string{"-ldflags", ldflags, "-o", b.path, "./cmd/wtinspect"})
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GO111MODULE=on")
	cmd.Stderr = os.Stderr
	err := cmd.Run()
	if err == nil {
		b.data, err = os.ReadFile(b.path)
	}
	if err == nil {
		err = b.readModules()
	}
	return b, err
}

// printed returns the completions and the manual pages that a program prints.
func printed(path string) (completions, pages []file, err error) {
	for _, c := range [][2]string{
		{"bash", "wtinspect.bash"},
		{"fish", "wtinspect.fish"},
		{"powershell", "wtinspect.ps1"},
		{"zsh", "_wtinspect"},
	} {
		text, err := output(path, "completion", c[0])
		if err != nil {
			return nil, nil, err
		}
		completions = append(completions, file{name: "completions/" + c[1], data: []byte(text + "\n")})
	}
	// Pages are found as a reader finds them, from the first one on: wtinspect-map-list
	// is the page of map list.
	names := []string{"wtinspect"}
	for i := 0; i < len(names); i++ {
		text, err := output(path, append([]string{"man"}, strings.Split(names[i], "-")[1:]...)...)
		if err != nil {
			return nil, nil, err
		}
		pages = append(pages, file{name: "man/man1/" + names[i] + ".1", data: []byte(text + "\n")})
		for _, m := range regexp.MustCompile(`\\fB(wtinspect[a-z\\-]*)\\fR\(1\)`).FindAllStringSubmatch(text, -1) {
			if name := strings.ReplaceAll(m[1], `\-`, "-"); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return completions, pages, nil
}

// output runs a program and returns what it prints, without the last newline.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, e.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// sums returns the digests of files, as sha256sum writes them.
func sums(files []file) []byte {
	var b strings.Builder
	for _, f := range slices.SortedFunc(slices.Values(files), byName) {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(f.data), f.name)
	}
	return []byte(b.String())
}
