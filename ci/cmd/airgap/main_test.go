package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutsideOfACheckout is not parallel: the working directory is everyone's.
func TestOutsideOfACheckout(t *testing.T) {
	t.Chdir(t.TempDir())
	cases := map[string]struct {
		args        string
		out, errors string
	}{
		"pins":               {args: "pins", out: "github.com/dagger/dagger"},
		"stop":               {args: "stop"},
		"down":               {args: "down"},
		"up needs one":       {args: "up", errors: "is no checkout of this repository: name one with --root"},
		"up with a bad root": {args: "up --root nowhere", errors: "nowhere is no checkout of this repository: name one with --root"},
		"too much":           {args: "down everything", errors: "unknown command"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "cache")
			var out bytes.Buffer
			cmd := root()
			cmd.SetOut(&out)
			cmd.SetErr(t.Output())
			cmd.SetArgs(append(strings.Fields(c.args), "--cache", cache))
			err := cmd.ExecuteContext(t.Context())
			if c.errors == "" && err != nil || c.errors != "" && (err == nil || !strings.Contains(err.Error(), c.errors)) {
				t.Errorf("the error is %v, want %q", err, c.errors)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("it prints %q, want %q in it", out.String(), c.out)
			}
			if _, err := os.Stat(cache); !os.IsNotExist(err) {
				t.Errorf("it left something in %s", cache)
			}
		})
	}
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	top, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []string{"", "../../..", top} {
		if got, err := checkout(named); err != nil || got != top {
			t.Errorf("the checkout of %q is %s, %v; want %s", named, got, err, top)
		}
	}
	if got, err := checkout("."); err == nil {
		t.Errorf("a folder inside of one, named, is %s", got)
	}
}
