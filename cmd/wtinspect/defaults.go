package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/report"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A setting is a flag that people set once, for all commands that have it: in the
// environment, as WTINSPECT_ and its name, or in their file. No setting may decide what
// a command finds: that is for the settings of a release, which everybody has who judges it.
type setting struct {
	name   string
	values []string // nil allows any
}

// pagerSetting is the one that has no flag for people, who have --no-pager.
const pagerSetting = "pager"

// settings lists the settings.
func settings() []setting {
	when := []string{"auto", "always", "never"}
	formats := report.Forms()
	for _, f := range render.Formats() {
		if !slices.Contains(formats, string(f)) {
			formats = append(formats, string(f))
		}
	}
	return []setting{
		{"color", when},
		{"format", formats},
		{pagerSetting, nil},
		{"progress", when},
		{"wide", []string{"true", "false"}},
	}
}

func (s setting) variable() string { return "WTINSPECT_" + strings.ToUpper(s.name) }

func (s setting) check(value string) error {
	if s.values == nil || slices.Contains(s.values, value) {
		return nil
	}
	return fmt.Errorf("%q must be one of: %s%s", value, strings.Join(s.values, ", "), template.DidYouMean(value, s.values))
}

// setDefaults gives the flags that the command line leaves out the values of the
// environment and, after that, of the user's file.
func (p *program) setDefaults(cmd *cobra.Command) error {
	if !cmd.HasParent() || cmd.Name() == completionName || cmd.Name() == helpName || cmd.Name() == manName {
		return nil // they have none, and work where the file does not
	}
	p.started = true // what is wrong is not the command line
	all := settings()
	user, err := p.readUserFile(cmd.Context(), all)
	if err != nil {
		return errors.Join(err, errors.New(userFileVariable+"=none leaves the file out"))
	}
	for _, s := range all {
		value, from := p.getenv(s.variable()), s.variable()
		if value == "" {
			value, from = user.values[s.name], user.path
		} else if err := s.check(value); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		f := cmd.Flags().Lookup(s.name)
		if value == "" || f == nil || f.Changed {
			continue
		}
		switch err := setDefault(f, value); {
		case !p.verbose:
		case err != nil:
			p.say("%s: %s, from %s, is left out: %v", s.name, value, from, err)
		default:
			p.say("%s: %s, from %s", s.name, value, from)
		}
	}
	p.started = false
	return nil
}

// setDefault sets a flag, unless its command has a form that is its purpose, as a lock has.
func setDefault(f *pflag.Flag, value string) error {
	forPeople := f.DefValue == string(render.TableFormat) || f.DefValue == report.Forms()[0]
	if f.Name == "format" && !forPeople {
		return fmt.Errorf("this command prints %s unless -f is given", f.DefValue)
	}
	return f.Value.Set(value)
}

// userFileVariable names the user's file, or says with "none" that there is none.
const userFileVariable = "WTINSPECT_CONFIG"

// A userFile is what the user's file gives to settings.
type userFile struct {
	path   string
	values map[string]string
}

// readUserFile reads the user's file. That there is none is no error, unless
// userFileVariable names it.
func (p *program) readUserFile(ctx context.Context, all []setting) (*userFile, error) {
	u := &userFile{path: p.getenv(userFileVariable), values: make(map[string]string)}
	var data []byte
	var err error
	switch u.path {
	case "none":
		return u, nil
	case "":
		if u.path = p.userFilePath(); u.path == "" {
			return u, nil
		}
		data, err = source.ReadFile(ctx, u.path, source.Settings)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return u, nil
		case errors.Is(err, fs.ErrPermission): // as where the home is that of another user
			p.note("%v; the defaults are those that are built in", plain(err))
			return u, nil
		}
	default:
		data, err = source.ReadNamed(ctx, u.path, source.Settings)
	}
	if err != nil {
		return nil, plain(err)
	}
	return u, policy.ParseTexts(u.path, data, func(key string) (func(string) error, error) {
		var names []string
		for _, s := range all {
			if s.name == key {
				return func(value string) error {
					u.values[key] = value
					return s.check(value)
				}, nil
			}
			names = append(names, s.name)
		}
		return nil, fmt.Errorf("unknown key %q; there are %s%s", key, strings.Join(names, ", "), template.DidYouMean(key, names))
	})
}

// userFilePath is where the user's file is, "" where the environment does not tell: the
// directory of os.UserConfigDir, and everywhere that of XDG_CONFIG_HOME if there is one.
func (p *program) userFilePath() string {
	dir := p.getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // https://specifications.freedesktop.org/basedir-spec: a relative one is ignored
		home := "HOME"
		below := ".config"
		switch runtime.GOOS {
		case "windows":
			home, below = "AppData", ""
		case "darwin", "ios":
			below = "Library/Application Support"
		}
		if dir = p.getenv(home); !filepath.IsAbs(dir) {
			return ""
		}
		dir = filepath.Join(dir, filepath.FromSlash(below))
	}
	return filepath.Join(dir, "wtinspect", "config.yaml")
}
