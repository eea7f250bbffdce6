package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the version of wtinspect, the commit it was built from and the
Go release that built it. It asks no server for a newer one.`,
		Annotations: exitStatus(),
		Example:     `  wtinspect version`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("version takes no argument, such as %q", args[0])
			}
			return nil
		},
		RunE: p.work(func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintln(p.stdout, versionLine(info))
			return err
		}),
	}
}

// version returns the version that was built, "unknown" outside of a module.
func version(info *debug.BuildInfo) string {
	if info != nil && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func versionLine(info *debug.BuildInfo) string {
	commit := ""
	if info != nil {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = ", commit " + s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				if s.Value == "true" {
					commit += " (modified)"
				}
			}
		}
	}
	return fmt.Sprintf("wtinspect %s%s, %s %s/%s", version(info), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
