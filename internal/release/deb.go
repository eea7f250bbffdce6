package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// A debian is a Debian package. It is packed here and not by dpkg-deb, so that every
// machine packs the same bytes.
type debian struct {
	version, arch string
	files         []file
	err           error
}

func (d debian) fileName() string { return "wtinspect_" + d.version + "_" + d.arch + ".deb" }

// debian lays the files out as Debian's policy has them.
func (r release) debian(prog program, documents, completions, pages []file) debian {
	// A tilde sorts before the release: 0.1.0~rc.1 is older than 0.1.0.
	d := debian{version: strings.Replace(r.number(), "-", "~", 1), arch: prog.arch}
	add := func(name string, data []byte) { d.files = append(d.files, file{name: name, data: data}) }
	gzip := func(name string, data []byte) {
		data, err := compressed(data)
		if err != nil {
			d.err = err
		}
		add(name+".gz", data)
	}
	for _, f := range prog.executables() {
		f.name = "usr/bin/" + f.name
		d.files = append(d.files, f)
	}
	for _, p := range pages {
		gzip("usr/share/"+p.name, p.data)
	}
	for _, c := range completions {
		switch path.Ext(c.name) {
		case ".bash":
			add("usr/share/bash-completion/completions/wtinspect", c.data)
		case ".fish":
			add("usr/share/fish/vendor_completions.d/wtinspect.fish", c.data)
		case "":
			add("usr/share/zsh/vendor-completions/_wtinspect", c.data)
		}
	}
	const doc = "usr/share/doc/wtinspect/"
	for _, f := range documents {
		switch f.name {
		case "CHANGELOG.md":
			gzip(doc+"NEWS", f.data)
		case "THIRD-PARTY-LICENSES":
			add(doc+"copyright", []byte(copyright+string(f.data)))
		}
	}
	gzip(doc+"changelog", fmt.Appendf(nil, "wtinspect (%s) stable; urgency=medium\n\n  * Release %s; NEWS.gz says what is new.\n\n -- %s  %s\n",
		d.version, r.version, maintainer, r.time.Format(time.RFC1123Z)))
	return d
}

// There is no address to write to: reports are made on the project's pages.
const maintainer = "The wtinspect authors <" + repository + "/issues>"

const copyright = `wtinspect: ` + repository + `

Copyright (C) the wtinspect authors.
License: Apache-2.0. On Debian systems its text is in
/usr/share/common-licenses/Apache-2.0.

The program is static, and has these modules in it.

`

func (d debian) build(when time.Time) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	var sums bytes.Buffer
	size := 0
	for _, f := range slices.SortedFunc(slices.Values(d.files), byName) {
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.data), f.name) // dpkg --verify reads no other digest
		size += (len(f.data) + 1023) / 1024
	}
	fields := fmt.Sprintf(`Package: wtinspect
Version: %s
Architecture: %s
Maintainer: %s
Installed-Size: %d
Section: utils
Priority: optional
Homepage: %s
Description: %s
 It lists what is in safetensors and GGUF checkpoints, recognises what each
 project calls its tensors, renames and converts them, and checks a release
 before others find out what is wrong with it.
 .
 It treats every file as hostile, and never executes one.
`, d.version, d.arch, maintainer, size, repository, summary)
	control, err := tarball([]file{{name: "control", data: []byte(fields)}, {name: "md5sums", data: sums.Bytes()}}, "./", when)
	if err != nil {
		return nil, err
	}
	data, err := tarball(d.files, "./", when)
	if err != nil {
		return nil, err
	}
	return ar([]file{
		{name: "debian-binary", data: []byte("2.0\n")},
		{name: "control.tar.gz", data: control},
		{name: "data.tar.gz", data: data},
	}, when), nil
}
