package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
)

// ErrPlatform says that an image cannot be made for a platform, or not in that company.
var ErrPlatform = errors.New("cannot make the image for this platform")

// preferred is the platform that is read of an image of several where nothing says which.
const preferred = "linux/amd64"

// nodes are the platforms that there can be an image for, with what Node calls their architectures: those that the
// official Node image is made for, and riscv64, which it may come to.
var nodes = map[string]string{
	"linux/amd64":   "x64",
	"linux/arm/v7":  "arm",
	"linux/arm64":   "arm64",
	"linux/ppc64le": "ppc64",
	"linux/riscv64": "riscv64",
	"linux/s390x":   "s390x",
}

// Platform is one that an image is made for.
type Platform struct {
	// Name is how registries call it, linux/arm64.
	Name string `json:"platform"`
	// Native says that it is the engine's own.
	Native bool `json:"native,omitempty"`
}

// Platforms reads the platforms to make an image for, in whatever order, and sorts them. Engine is the platform of the
// engine that makes it; where the image is to be proven there, that one has to be among them.
func Platforms(names []string, engine string, proven bool) ([]Platform, error) {
	own, err := normal(engine)
	if err != nil {
		return nil, fmt.Errorf("%w: %q of the engine: %w", ErrPlatform, engine, err)
	}
	var found []Platform
	for _, text := range names {
		name, err := normal(text)
		switch {
		case err != nil || nodes[name] == "":
			return nil, fmt.Errorf("%w: %q is none of %s", ErrPlatform, text, known())
		case slices.ContainsFunc(found, func(p Platform) bool { return p.Name == name }):
			return nil, fmt.Errorf("%w: %s is asked for twice; name each platform once", ErrPlatform, name)
		}
		found = append(found, Platform{Name: name, Native: name == own})
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%w: none is named; name some of %s", ErrPlatform, known())
	case proven && !slices.ContainsFunc(found, func(p Platform) bool { return p.Native }):
		return nil, fmt.Errorf("%w: the proof runs the image on %s, this engine's own platform, which is not among %s; add it, or leave the proof out with --verify=false", ErrPlatform, own, list(found))
	}
	slices.SortFunc(found, func(a, b Platform) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// Runs reads what came of running the base image for a platform, and refuses a platform that the engine cannot pull or
// run. Said is what Node says of its process.arch there, or the error.
func Runs(platform, said string) error {
	said = strings.Join(strings.Fields(said), " ")
	other := ""
	for name, arch := range nodes {
		if arch == said {
			other = name
		}
	}
	switch {
	case other == platform:
		return nil
	case other != "":
		return fmt.Errorf("%w: %s: its base images are to be had for %s only; leave it out of --platforms", ErrPlatform, platform, other)
	case strings.Contains(said, "requested platform"):
		return fmt.Errorf("%w: %s: its base images are not to be had for it; leave it out of --platforms (%s)", ErrPlatform, platform, said)
	case strings.Contains(said, "exec format error"):
		return fmt.Errorf("%w: %s: this engine cannot run its programs; register QEMU's handlers on the engine's machine, docker run --privileged --rm tonistiigi/binfmt --install %s, or leave it out of --platforms", ErrPlatform, platform, binfmt(platform))
	}
	return fmt.Errorf("%w: %s: Node does not run there: %s", ErrPlatform, platform, said)
}

// binfmt is what QEMU's handlers for a platform are installed by.
func binfmt(platform string) string {
	_, arch, _ := strings.Cut(platform, "/")
	arch, _, _ = strings.Cut(arch, "/")
	return arch
}

// normal is a platform by the one name that registries have for it: linux/aarch64 and linux/arm64/v8 are linux/arm64.
func normal(text string) (string, error) {
	if !strings.Contains(text, "/") {
		// An operating system or an architecture alone is completed by that of this program.
		return "", errors.New("a platform is OS/ARCHITECTURE, linux/arm64")
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return "", err
	}
	return platforms.Format(platforms.Normalize(p)), nil
}

func known() string {
	var names []string
	for name := range nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func list(found []Platform) string {
	var names []string
	for _, p := range found {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}
