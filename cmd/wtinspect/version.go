package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

func newVersion(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the version of wtinspect, its commit and the Go release
that built it. It does not check for a newer version.`,
		Annotations: exitStatus(),
		Example: `  wtinspect version
  wtinspect version -f json`,
		Args: arguments(0, 0),
		RunE: p.work(func(*cobra.Command, []string) error { return p.printVersion(&o) }),
	}
	o.addFlags(cmd, p, func(answer.Options) []render.Column { return buildColumns.Heads() })
	return cmd
}

// A build is what a program was made from.
type build struct {
	version, commit, platform string
	modified                  bool
}

func (p *program) printVersion(o *output) error {
	b := thisBuild()
	return o.answer(p, nil, func(w io.Writer, a answer.Options) error {
		switch {
		case a.Format == render.TableFormat && a.Style.Columns == nil:
			_, err := fmt.Fprintln(w, b)
			return err
		case a.Format == render.JSON:
			d := render.NewDocument(w)
			d.Field("version", b.version)
			var commit *string
			if b.commit != "" {
				commit = &b.commit
			}
			d.Field("commit", commit)
			d.Field("modified", b.modified)
			d.Field("go", runtime.Version())
			d.Field("platform", b.platform)
			return d.Close()
		}
		return buildColumns.Table(slices.Values([]build{b})).Write(w, a.Format, a.Style)
	})
}

var buildColumns = render.Columns[build]{
	{Key: "version", Cell: func(c *render.Cell, b build) { c.Text(b.version) }},
	{Key: "commit", Cell: func(c *render.Cell, b build) { c.Some(b.commit) }},
	{Key: "modified", Cell: func(c *render.Cell, b build) { c.Bool(b.modified) }},
	{Key: "go", Cell: func(c *render.Cell, _ build) { c.Text(runtime.Version()) }},
	{Key: "platform", Cell: func(c *render.Cell, b build) { c.Text(b.platform) }},
}

// The linker sets these in a release, which is built without version control, so
// that a source archive gives the same program.
var releaseVersion, releaseCommit string

// thisBuild is what this program was made from.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	b := newBuild(info)
	if releaseVersion != "" {
		b.version, b.commit, b.modified = releaseVersion, releaseCommit, false
	}
	return b
}

// newBuild returns what Go says of a program; its version is "unknown" outside of a module.
func newBuild(info *debug.BuildInfo) build {
	b := build{version: "unknown", platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	if info.Main.Version != "" {
		b.version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	s := "wtinspect " + b.version
	if b.commit != "" {
		s += ", commit " + b.commit[:min(12, len(b.commit))]
	}
	if b.modified {
		s += " (modified)"
	}
	return fmt.Sprintf("%s, %s %s", s, runtime.Version(), b.platform)
}
