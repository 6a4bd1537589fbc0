package image_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

func TestPlatforms(t *testing.T) {
	t.Parallel()
	amd, arm := image.Platform{Name: "linux/amd64"}, image.Platform{Name: "linux/arm64"}
	native := func(p image.Platform) image.Platform { p.Native = true; return p }
	for name, c := range map[string]struct {
		names  []string
		engine string
		proven bool
		want   []image.Platform
		// refused is what the sentence says.
		refused string
	}{
		"two":                      {names: []string{"linux/amd64", "linux/arm64"}, engine: "linux/amd64", proven: true, want: []image.Platform{native(amd), arm}},
		"two the other way round":  {names: []string{"linux/arm64", "linux/amd64"}, engine: "linux/arm64", proven: true, want: []image.Platform{amd, native(arm)}},
		"the engine's own":         {names: []string{"linux/amd64"}, engine: "linux/amd64", proven: true, want: []image.Platform{native(amd)}},
		"another alone":            {names: []string{"linux/arm64"}, engine: "linux/amd64", want: []image.Platform{arm}},
		"by other names":           {names: []string{"linux/aarch64", "Linux/x86_64"}, engine: "linux/arm64/v8", proven: true, want: []image.Platform{amd, native(arm)}},
		"32 bits":                  {names: []string{"linux/arm", "linux/amd64"}, engine: "linux/amd64", want: []image.Platform{native(amd), {Name: "linux/arm/v7"}}},
		"not the engine's own":     {names: []string{"linux/arm64"}, engine: "linux/amd64", proven: true, refused: "the proof runs the image on linux/amd64, this engine's own platform, which is not among linux/arm64; add it, or leave the proof out with --verify=false"},
		"several without amd64":    {names: []string{"linux/s390x", "linux/arm64"}, engine: "linux/arm64", proven: true, want: []image.Platform{native(arm), {Name: "linux/s390x"}}},
		"one twice":                {names: []string{"linux/amd64", "linux/x86_64"}, engine: "linux/amd64", refused: "linux/amd64 is asked for twice"},
		"none":                     {engine: "linux/amd64", refused: "none is named"},
		"nothing":                  {names: []string{""}, engine: "linux/amd64", refused: `"" is none of linux/amd64, linux/arm/v7, linux/arm64`},
		"no operating system":      {names: []string{"arm64"}, engine: "linux/amd64", refused: `"arm64" is none of linux/amd64`},
		"no architecture":          {names: []string{"linux"}, engine: "linux/amd64", refused: `"linux" is none of`},
		"another operating system": {names: []string{"windows/amd64"}, engine: "linux/amd64", refused: `"windows/amd64" is none of`},
		"an unknown architecture":  {names: []string{"linux/z80"}, engine: "linux/amd64", refused: `"linux/z80" is none of`},
		"an unknown level":         {names: []string{"linux/amd64/v3"}, engine: "linux/amd64", refused: `"linux/amd64/v3" is none of`},
		"too much":                 {names: []string{"linux/arm64/v8/x"}, engine: "linux/amd64", refused: `"linux/arm64/v8/x" is none of`},
		"two in one":               {names: []string{"linux/amd64 linux/arm64"}, engine: "linux/amd64", refused: `is none of`},
		"an option":                {names: []string{"--help/x"}, engine: "linux/amd64", refused: `is none of`},
		"an engine that is none":   {names: []string{"linux/amd64"}, engine: "amd64", refused: `"amd64" of the engine`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := image.Platforms(c.names, c.engine, c.proven)
			if c.refused != "" {
				if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, %v; want an error with %q", got, err, c.refused)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ platform, said, refused string }{
		"it runs":                     {"linux/arm64", "arm64\n", ""},
		"it runs, 32 bits":            {"linux/arm/v7", "arm\n", ""},
		"it runs, by Node's own name": {"linux/amd64", "x64\n", ""},
		"another one ran":             {"linux/arm64", "x64\n", "linux/arm64: its base images are to be had for linux/amd64 only; leave it out"},
		"no such base image":          {"linux/riscv64", `failed to resolve image "docker.io/library/node:22" (platform: "linux/riscv64"): no manifest matches requested platform for sha256:0`, "linux/riscv64: its base images are not to be had for it; leave it out of --platforms (failed to resolve"},
		"no handler":                  {"linux/arm64", "exec /usr/local/bin/node: exec format error", "docker run --privileged --rm tonistiigi/binfmt --install arm64, or leave it out"},
		"no handler, 32 bits":         {"linux/arm/v7", "exec /usr/local/bin/node: exec format error", "tonistiigi/binfmt --install arm, or"},
		"no registry":                 {"linux/arm64", "dial tcp: lookup registry-1.docker.io:\nno such host", "linux/arm64: Node does not run there: dial tcp: lookup registry-1.docker.io: no such host"},
		"nothing said":                {"linux/arm64", "", "linux/arm64: Node does not run there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := image.Runs(c.platform, c.said)
			if c.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want an error with %q", err, c.refused)
			}
		})
	}
}
