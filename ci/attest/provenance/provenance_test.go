package provenance_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
)

const revision = "0123456789abcdef0123456789abcdef01234567"

var facts = provenance.Facts{
	Repository: "https://github.com/acme/portal",
	Revision:   revision,
	Inputs:     []string{"backstage", "ci/slim"},
	Builder:    "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main",
	Images:     []string{"docker.io/library/node:22.1.0@sha256:" + strings.Repeat("a", 64), "gcr.io/distroless/cc-debian12:nonroot"},
}

func TestMake(t *testing.T) {
	t.Parallel()
	text, err := facts.Make()
	if err != nil {
		t.Fatal(err)
	}
	read, err := provenance.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read, facts) {
		t.Errorf("%+v; want %+v", read, facts)
	}
	again := facts
	again.Images = []string{facts.Images[1], facts.Images[0], facts.Images[1]}
	other, err := again.Make()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(other, text) {
		t.Errorf("the order of images makes another one:\n%s\n%s", other, text)
	}
	for _, want := range []string{`"uri":"git+https://github.com/acme/portal"`, `"gitCommit":"` + revision + `"`, provenance.BuildType} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*provenance.Facts){
		"no repository": func(f *provenance.Facts) { f.Repository = "" },
		"no revision":   func(f *provenance.Facts) { f.Revision = "" },
		"no builder":    func(f *provenance.Facts) { f.Builder = "" },
		"no image":      func(f *provenance.Facts) { f.Images = []string{"A B"} },
	} {
		f := facts
		change(&f)
		if _, err := f.Make(); !errors.Is(err, provenance.ErrFacts) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(*provenance.Facts)
		want   error
	}{
		"the same":           {func(*provenance.Facts) {}, nil},
		"anything":           {func(f *provenance.Facts) { *f = provenance.Facts{} }, nil},
		"another repository": {func(f *provenance.Facts) { f.Repository = "https://github.com/evil/portal" }, provenance.ErrSource},
		"another commit":     {func(f *provenance.Facts) { f.Revision = strings.Repeat("f", 40) }, provenance.ErrRevision},
		"another builder":    {func(f *provenance.Facts) { f.Builder = "https://example.com" }, provenance.ErrBuilder},
	} {
		want := facts
		c.change(&want)
		if err := facts.Check(want); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	good, err := facts.Make()
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"nothing":              "",
		"an empty one":         "{}",
		"another build type":   strings.Replace(string(good), provenance.BuildType, "https://example.com/build", 1),
		"a commit asked for":   strings.Replace(string(good), `"revision":"`+revision, `"revision":"`+strings.Repeat("f", 40), 1),
		"a commit that it is":  strings.Replace(string(good), `"gitCommit":"`+revision, `"gitCommit":"`+strings.Repeat("f", 40), 1),
		"no builder":           strings.Replace(string(good), facts.Builder, "", 1),
		"an unknown field":     strings.Replace(string(good), `"buildDefinition"`, `"builtDefinition"`, 1),
		"no dependency at all": withoutSource(string(good)),
	} {
		if _, err := provenance.Read([]byte(text)); !errors.Is(err, provenance.ErrBroken) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// withoutSource is a provenance without what it was built from.
func withoutSource(text string) string {
	from := strings.Index(text, `"resolvedDependencies":[`)
	to := from + strings.Index(text[from:], `}]`) + 2
	return text[:from] + `"resolvedDependencies":[]` + text[to:]
}
