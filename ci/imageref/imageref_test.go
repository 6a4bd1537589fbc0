package imageref_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

const sha = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in   string
		want imageref.Ref
		bad  bool
	}{
		"short name":             {in: "backstage-gitops", want: imageref.Ref{Registry: "docker.io", Path: "library/backstage-gitops"}},
		"dockerhub user":         {in: "docker.io/user/backstage-gitops", want: imageref.Ref{Registry: "docker.io", Path: "user/backstage-gitops"}},
		"port":                   {in: "localhost:5000/a/b:1.0", want: imageref.Ref{Registry: "localhost:5000", Path: "a/b", Tag: "1.0"}},
		"service name with port": {in: "registry:5000/backstage-gitops", want: imageref.Ref{Registry: "registry:5000", Path: "backstage-gitops"}},
		"IPv6":                   {in: "[::1]:5000/a", want: imageref.Ref{Registry: "[::1]:5000", Path: "a"}},
		"tag and digest":         {in: "ghcr.io/a/b:v1@" + sha, want: imageref.Ref{Registry: "ghcr.io", Path: "a/b", Tag: "v1", Digest: sha}},
		"empty":                  {in: "", bad: true},
		"upper case":             {in: "docker.io/User/App", bad: true},
		"scheme":                 {in: "https://docker.io/user/app", bad: true},
		"space":                  {in: "docker.io/user/my app", bad: true},
		"double slash":           {in: "docker.io/user//app", bad: true},
		"short digest":           {in: "docker.io/user/app@sha256:abc", bad: true},
		"option":                 {in: "--help", bad: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.Parse(c.in)
			if c.bad {
				if !errors.Is(err, imageref.ErrReference) {
					t.Fatalf("Parse(%q) = %v, %v; want ErrReference", c.in, got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("Parse(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
			}
			again, err := imageref.Parse(got.String())
			if err != nil || again != got {
				t.Fatalf("Parse(%q) = %+v, %v; want %+v", got, again, err, got)
			}
		})
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	if ref, err := imageref.ParseName("docker.io/user/app"); err != nil || ref.Name() != "docker.io/user/app" {
		t.Errorf("ParseName = %v, %v", ref, err)
	}
	for _, in := range []string{"docker.io/user/app:1", "docker.io/user/app@" + sha} {
		if _, err := imageref.ParseName(in); !errors.Is(err, imageref.ErrReference) {
			t.Errorf("ParseName(%q): %v; want ErrReference", in, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in          string
		tag, digest bool
	}{
		{in: "main-0123456789ab", tag: true},
		{in: "_x", tag: true},
		{in: strings.Repeat("a", 128), tag: true},
		{in: strings.Repeat("a", 129)},
		{in: ""},
		{in: ".a"},
		{in: "-a"},
		{in: "a b"},
		{in: "a/b"},
		{in: "1.0+2"},
		{in: "a\n"},
		{in: sha, digest: true},
		{in: sha + "\n"},
		{in: strings.ToUpper(sha)},
		{in: sha[:70]},
		{in: "sha512:" + strings.Repeat("0", 128)},
	}
	for _, c := range cases {
		if err := imageref.CheckTag(c.in); (err == nil) != c.tag || (err != nil && !errors.Is(err, imageref.ErrTag)) {
			t.Errorf("CheckTag(%q) = %v; want valid %t", c.in, err, c.tag)
		}
		if err := imageref.CheckDigest(c.in); (err == nil) != c.digest || (err != nil && !errors.Is(err, imageref.ErrDigest)) {
			t.Errorf("CheckDigest(%q) = %v; want valid %t", c.in, err, c.digest)
		}
	}
}

func TestSuits(t *testing.T) {
	t.Parallel()
	for own, want := range map[string][]string{
		"1.2.3":             {"latest", "main", "1", "1.2"},
		"10.20.30":          {"latest", "main", "10", "10.20"},
		"1.2.3-rc.1":        {"latest", "main"},
		"main-0123456789ab": {"latest", "main"},
		"":                  {"latest", "main"},
	} {
		for _, moving := range []string{"latest", "main", "1", "1.2", "1.3", "10", "10.20", "pr-7", "1.2.3", "sha-0123456789ab", "1.2."} {
			if got := imageref.Suits(moving, own); got != slices.Contains(want, moving) {
				t.Errorf("Suits(%q, %q) = %t", moving, own, got)
			}
		}
	}
}

func TestTag(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"main-012":                         "main-012",
		"feature/new thing-012":            "feature-new-thing-012",
		"-.x":                              "x",
		"größe-1":                          "gr--e-1",
		"日本":                               "",
		strings.Repeat("x/", 100) + "-abc": strings.TrimLeft((strings.Repeat("x-", 100) + "-abc")[76:], "-"),
	}
	for in, want := range cases {
		got := imageref.Tag(in)
		if got != want {
			t.Errorf("Tag(%q) = %q; want %q", in, got, want)
		}
		if got != "" && imageref.CheckTag(got) != nil {
			t.Errorf("Tag(%q) = %q is not a valid tag", in, got)
		}
	}
}
