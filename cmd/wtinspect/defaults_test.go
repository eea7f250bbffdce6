package main

import (
	"path/filepath"
	"runtime"
	"testing"
)

func TestUserFilePath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has other paths: those of os.UserConfigDir")
	}
	below := ".config"
	if runtime.GOOS == "darwin" {
		below = "Library/Application Support"
	}
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/home/me", "/x/wtinspect/config.yaml"},
		{"", "/home/me", "/home/me/" + below + "/wtinspect/config.yaml"},
		{"x", "/home/me", "/home/me/" + below + "/wtinspect/config.yaml"}, // relative
		{"", "me", ""},
		{"", "", ""},
	} {
		env := map[string]string{"XDG_CONFIG_HOME": c.xdg, "HOME": c.home}
		p := newProgram(nil, nil, nil, func(name string) string { return env[name] })
		if got := p.userFilePath(); got != filepath.FromSlash(c.want) {
			t.Errorf("XDG_CONFIG_HOME=%s HOME=%s: %s, want %s", c.xdg, c.home, got, c.want)
		}
	}
}
