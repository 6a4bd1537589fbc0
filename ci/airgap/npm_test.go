package airgap

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNodeKey is not parallel: the PATH is everyone's. What builds the part
// depends on the machine, what it is does not.
func TestNodeKey(t *testing.T) {
	client := npmClient(debianTools())
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	without := node(client)
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	with := node(client)
	if len(without.Tools) != 1 || len(with.Tools) != 0 {
		t.Errorf("without npm it is built with %v, with npm with %v", names(without.Tools), names(with.Tools))
	}
	if without.Key() != with.Key() {
		t.Errorf("without npm the key is %s, with npm %s", without.Key(), with.Key())
	}
}

func TestConfiguredRegistry(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		environ []string
		npmrc   string
		want    string
	}{
		"nothing":                 {want: ""},
		"environment":             {environ: []string{"A=b", "npm_config_registry=https://npm.example/"}, want: "https://npm.example/"},
		"environment, upper case": {environ: []string{"NPM_CONFIG_REGISTRY=https://npm.example/"}, want: "https://npm.example/"},
		"npmrc":                   {npmrc: "; mine\n//npm.example/:_authToken=x=y\nregistry = https://npm.example/\n", want: "https://npm.example/"},
		"npmrc, quoted":           {npmrc: `registry="https://npm.example/"`, want: "https://npm.example/"},
		"npmrc, of one scope":     {npmrc: "@scope:registry=https://npm.example/\n", want: ""},
		"environment first":       {environ: []string{"npm_config_registry=https://one.example/"}, npmrc: "registry=https://two.example/", want: "https://one.example/"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := configuredRegistry(c.environ, c.npmrc); got != c.want {
				t.Errorf("the registry is %s, want %s", got, c.want)
			}
		})
	}
}
