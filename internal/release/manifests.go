package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"text/template"
)

//go:embed packaging
var packaging embed.FS

// manifests fills the formula for Homebrew and the manifest for Scoop with the
// places and digests of the archives.
func (r release) manifests(archives []file) ([]file, error) {
	digests := map[string]string{}
	for _, f := range archives {
		digests[f.name] = fmt.Sprintf("%x", sha256.Sum256(f.data))
	}
	archive := func(os, arch string) string { return platform{os, arch}.archive(r.number()) }
	t, err := template.New("").Funcs(template.FuncMap{
		"url": func(os, arch string) string {
			return repository + "/releases/download/" + r.version + "/" + archive(os, arch)
		},
		"sha256": func(os, arch string) (string, error) {
			if d := digests[archive(os, arch)]; d != "" {
				return d, nil
			}
			return "", fmt.Errorf("there is no archive for %s/%s", os, arch)
		},
	}).ParseFS(packaging, "packaging/*")
	if err != nil {
		return nil, err
	}
	var list []file
	for _, name := range []string{"wtinspect.json", "wtinspect.rb"} {
		var b bytes.Buffer
		about := map[string]string{"Version": r.number(), "Summary": summary, "Repository": repository}
		if err := t.ExecuteTemplate(&b, name, about); err != nil {
			return nil, err
		}
		list = append(list, file{name: name, data: b.Bytes()})
	}
	return list, nil
}
