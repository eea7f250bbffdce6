package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A module is one that is linked into a program, or Go's standard library.
type module struct {
	path, version, sum string
	texts              []file // its licence, and what the licence says must go with it
}

const standardLibrary = "std"

// readModules asks the program what is linked into it.
func (p *binary) readModules() error {
	info, err := buildinfo.ReadFile(p.path)
	if err != nil {
		return err
	}
	p.goBuild = info.GoVersion
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return err
	}
	std := module{path: standardLibrary, version: strings.TrimPrefix(info.GoVersion, "go")}
	if std.texts, err = licenceTexts(root); err != nil {
		return err
	}
	p.modules = []module{std}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			return fmt.Errorf("%s is replaced by %s: a release has no replaced modules", dep.Path, dep.Replace.Path)
		}
		text, err := output("go", "mod", "download", "-json", dep.Path+"@"+dep.Version)
		if err != nil {
			return err
		}
		var where struct{ Dir string }
		if err := json.Unmarshal([]byte(text), &where); err != nil {
			return err
		}
		m := module{path: dep.Path, version: dep.Version, sum: dep.Sum}
		if m.texts, err = licenceTexts(where.Dir); err != nil {
			return fmt.Errorf("%s: %w", dep.Path, err)
		}
		p.modules = append(p.modules, m)
	}
	return nil
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)(\.(txt|md))?$`)

// licenceTexts returns the licence in the directory of a module, and the notices
// beside it.
func licenceTexts(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts []file
	for _, e := range entries {
		if !e.Type().IsRegular() || !licenceName.MatchString(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, file{name: e.Name(), data: data})
	}
	if texts == nil {
		return nil, errors.New("it has no licence")
	}
	return texts, nil
}

// licences returns the texts of modules, which go with every copy of the program.
func licences(modules []module) []byte {
	var b bytes.Buffer
	for _, m := range modules {
		for _, t := range m.texts {
			line := strings.Repeat("-", 80)
			fmt.Fprintf(&b, "%s\n%s %s: %s\n%s\n\n%s\n\n", line, m.name(), m.version, t.name, line, bytes.Trim(t.data, "\n"))
		}
	}
	return b.Bytes()
}

func (m module) name() string {
	if m.path == standardLibrary {
		return "The Go standard library"
	}
	return m.path
}

// Sentences that only one licence has, and its identifier at https://spdx.org/licenses.
var sentences = [][2]string{
	{"apache license version 2.0, january 2004", "Apache-2.0"},
	{"materials provided with the distribution. this software is provided by", "BSD-2-Clause"}, // no third clause between
	{"neither the name of", "BSD-3-Clause"},
	{"permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"},
	{"https://opensource.org/license/mit", "MIT"},
}

// licence returns the licences that the texts of a module are, NOASSERTION for one
// that is not known.
func (m module) licence() string {
	var found []string
	for _, t := range m.texts {
		text := strings.Join(strings.Fields(strings.ToLower(string(t.data))), " ")
		for _, s := range sentences {
			if strings.Contains(text, s[0]) && !slices.Contains(found, s[1]) {
				found = append(found, s[1])
			}
		}
	}
	if found == nil {
		return "NOASSERTION"
	}
	return strings.Join(found, " AND ")
}

type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Created       spdxCreated        `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreated struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"name"`
	Version          string         `json:"versionInfo"`
	Purpose          string         `json:"primaryPackagePurpose"`
	Download         string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	Source           string         `json:"sourceInfo,omitempty"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	References       []spdxExternal `json:"externalRefs"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Kind string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// bom returns the list of what is linked into a program, in SPDX 2.3:
// https://spdx.github.io/spdx-spec/v2.3.
func (r release) bom(prog program, archive string) ([]byte, error) {
	const none = "NOASSERTION"
	golang := func(path, version string) []spdxExternal {
		return []spdxExternal{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}}
	}
	url := repository + "/releases/download/" + r.version + "/" + archive
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: archive, Namespace: url + ".spdx.json",
		Created: spdxCreated{r.time.Format(time.RFC3339), []string{"Tool: " + strings.TrimPrefix(repository, "https://") + "/internal/release-" + r.number()}},
	}
	listed := map[string]bool{}
	for _, b := range prog.both() {
		main := "SPDXRef-" + b.name
		d.Packages = append(d.Packages, spdxPackage{
			ID: main, Name: prog.executable(b.name), Version: r.version, Purpose: "APPLICATION", Download: url,
			LicenseConcluded: none, LicenseDeclared: "Apache-2.0", Copyright: none,
			Source:     "commit " + r.commit + ", built by " + b.goBuild,
			Checksums:  []spdxChecksum{{"SHA256", fmt.Sprintf("%x", sha256.Sum256(b.data))}},
			References: golang(strings.TrimPrefix(repository, "https://"), r.version),
		})
		d.Relationships = append(d.Relationships, spdxRelationship{"SPDXRef-DOCUMENT", "DESCRIBES", main})
		for _, m := range b.modules {
			id := "SPDXRef-" + regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(m.path, "-")
			d.Relationships = append(d.Relationships, spdxRelationship{main, "STATIC_LINK", id})
			if listed[id] {
				continue
			}
			listed[id] = true
			p := spdxPackage{
				ID: id, Name: m.path, Version: m.version, Purpose: "LIBRARY", Download: none,
				LicenseConcluded: none, LicenseDeclared: m.licence(), Copyright: none, References: golang(m.path, m.version),
			}
			if m.path == standardLibrary {
				p.Name, p.References = m.name(), golang("stdlib", m.version)
			}
			if m.sum != "" {
				p.Source = "go.sum " + m.sum
			}
			d.Packages = append(d.Packages, p)
		}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
