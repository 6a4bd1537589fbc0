package airgap

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	t.Parallel()
	key := func(change func(need, p *Part)) string {
		need := &Part{Name: "need", Inputs: []string{"v1"}}
		p := &Part{Name: "part", Inputs: []string{"a", "b"}, Needs: []*Part{need}}
		change(need, p)
		return p.Key()
	}
	first := key(func(_, _ *Part) {})
	if len(first) != 12 {
		t.Errorf("the key is %q, want 12 digits", first)
	}
	cases := map[string]struct {
		change func(need, p *Part)
		same   bool
	}{
		"nothing":                  {func(_, _ *Part) {}, true},
		"how it is built":          {func(_, p *Part) { p.Compiles = true; p.Build = func(context.Context, Work) error { return nil } }, true},
		"name":                     {func(_, p *Part) { p.Name = "other" }, false},
		"an input":                 {func(_, p *Part) { p.Inputs[0] = "c" }, false},
		"one input more":           {func(_, p *Part) { p.Inputs = append(p.Inputs, "") }, false},
		"order of the inputs":      {func(_, p *Part) { p.Inputs = []string{"b", "a"} }, false},
		"inputs run together":      {func(_, p *Part) { p.Inputs = []string{"ab"} }, false},
		"an input with a new line": {func(_, p *Part) { p.Inputs = []string{"a\"\ninput \"b"} }, false},
		"an input of a need":       {func(need, _ *Part) { need.Inputs[0] = "v2" }, false},
		"what only does the work":  {func(need, p *Part) { p.Tools = append(p.Tools, need) }, true},
		"no needs":                 {func(_, p *Part) { p.Needs = nil }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := key(c.change); (got == first) != c.same {
				t.Errorf("the key is %s, it was %s", got, first)
			}
		})
	}
}

func TestUndeclaredNeed(t *testing.T) {
	t.Parallel()
	other := &Part{Name: "other"}
	p := &Part{Name: "part", Build: func(_ context.Context, w Work) error {
		w.Path(other)
		return nil
	}}
	dir := t.TempDir()
	defer func() {
		if got, _ := recover().(string); got != "airgap: part part reads other, which it does not declare" {
			t.Errorf("it says %q", got)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
			t.Errorf("scratch left behind: %v", left)
		}
	}()
	_ = Store{Dir: filepath.Join(dir, "parts")}.build(t.Context(), p, filepath.Join(dir, "tmp"), filepath.Join(dir, "build"), io.Discard)
	t.Error("no panic")
}

func TestPrune(t *testing.T) {
	t.Parallel()
	store := Store{Dir: filepath.Join(t.TempDir(), "parts")}
	if err := store.Prune(nil); err != nil {
		t.Errorf("without a store: %v", err)
	}
	old, current := &Part{Name: "part", Inputs: []string{"v1"}}, &Part{Name: "part", Inputs: []string{"v2"}}
	for _, p := range []*Part{old, current} {
		if err := os.MkdirAll(filepath.Join(store.Path(p), "ro"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Prune([]*Part{current}); err != nil {
		t.Fatal(err)
	}
	if store.Has(old) || !store.Has(current) {
		t.Errorf("old is there: %t, current is there: %t", store.Has(old), store.Has(current))
	}
}

func TestDigestOf(t *testing.T) {
	t.Parallel()
	digest := func(t *testing.T, files map[string]string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		d, err := digestOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := digest(t, map[string]string{"a/x.go": "x", "b.go": "y"})
	cases := map[string]struct {
		files map[string]string
		same  bool
	}{
		"same":          {map[string]string{"a/x.go": "x", "b.go": "y"}, true},
		"documentation": {map[string]string{"a/x.go": "x", "b.go": "y", "README.md": "z"}, true},
		"a test":        {map[string]string{"a/x.go": "x", "b.go": "y", "b_test.go": "z"}, true},
		"content":       {map[string]string{"a/x.go": "x", "b.go": "z"}, false},
		"name":          {map[string]string{"a/x.go": "x", "c.go": "y"}, false},
		"folder":        {map[string]string{"x.go": "x", "b.go": "y"}, false},
		"a file more":   {map[string]string{"a/x.go": "x", "b.go": "y", "c.go": ""}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := digest(t, c.files); (got == base) != c.same {
				t.Errorf("the digest is %s, it was %s", got, base)
			}
		})
	}
	if _, err := digestOf(filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing folder: %v", err)
	}
}
