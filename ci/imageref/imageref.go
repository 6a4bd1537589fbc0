// Package imageref reads image names, tags and digests as the registries do.
package imageref

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Ref is an image reference in its parts. Tag and Digest are empty where the reference has none.
type Ref struct {
	// Registry is the host, with its port where there is one: docker.io, localhost:5000.
	Registry string `json:"registry"`
	// Path is the repository in that registry: library/node, user/backstage-gitops.
	Path string `json:"path"`
	// Tag is the name people use, 1.2.3.
	Tag string `json:"tag,omitempty"`
	// Digest is the identity, sha256:….
	Digest string `json:"digest,omitempty"`
}

var (
	// ErrReference says that a text is no image reference.
	ErrReference = errors.New("invalid image reference")
	// ErrTag says that a text is no image tag.
	ErrTag = errors.New("invalid image tag")
	// ErrDigest says that a text is no image digest.
	ErrDigest = errors.New("invalid image digest")
)

var tag = regexp.MustCompile(`\A` + reference.TagRegexp.String() + `\z`)

// Parse reads a reference; a name without a registry is one of docker.io, as in the docker CLI.
func Parse(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%w %q: %w; write REGISTRY/NAME, for example docker.io/user/backstage-gitops", ErrReference, s, err)
	}
	ref := Ref{Registry: reference.Domain(named), Path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		ref.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		ref.Digest = d.Digest().String()
	}
	return ref, nil
}

// ParseName reads a repository name and refuses a tag or a digest behind it: a release derives both.
func ParseName(s string) (Ref, error) {
	ref, err := Parse(s)
	if err != nil {
		return Ref{}, err
	}
	if ref.Tag != "" || ref.Digest != "" {
		return Ref{}, fmt.Errorf("%w %q: give the name alone, the release adds tag and digest itself", ErrReference, s)
	}
	return ref, nil
}

// Name is the reference without tag and digest.
func (r Ref) Name() string { return r.Registry + "/" + r.Path }

// String is the whole reference.
func (r Ref) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// CheckTag refuses what a registry would refuse as a tag.
func CheckTag(s string) error {
	if tag.MatchString(s) {
		return nil
	}
	return fmt.Errorf("%w %q: a tag is up to 128 letters, digits, '_', '.' and '-', and starts with none of the last two", ErrTag, s)
}

var moving = regexp.MustCompile(`\A(latest|main|[0-9]+(\.[0-9]+)?|pr-[0-9]+)\z`)

// Moves says whether a tag names a line of images and not one of them: latest, main, 1, 1.2 and pr-7 go to the next
// image, while any other tag, 1.2.3 or sha-0123456789ab, is that of one image for good.
func Moves(tag string) bool { return moving.MatchString(tag) }

var version = regexp.MustCompile(`\A[0-9]+\.[0-9]+\.[0-9]+\z`)

// Suits says whether a tag that moves may go to the image whose own tag is given: 1 and 1.2 to a version of that line and
// no pre-release, latest and main to any, pr-7 to none.
func Suits(moving, own string) bool {
	switch {
	case moving == "latest", moving == "main":
		return true
	case !Moves(moving):
		return false
	}
	return version.MatchString(own) && strings.HasPrefix(own, moving+".")
}

// CheckDigest refuses what is not a sha256 digest.
func CheckDigest(s string) error {
	d, err := digest.Parse(s)
	if err == nil && d.Algorithm() == digest.SHA256 {
		return nil
	}
	return fmt.Errorf("%w %q: a digest is sha256: and 64 lower-case hex digits", ErrDigest, s)
}

// Tag makes a valid tag of any text: what a tag cannot hold becomes '-', and what is too long loses its head, so
// that a hash at the end survives. The result is empty where nothing usable is left.
func Tag(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '-'
	}, s)
	if len(s) > 128 {
		s = s[len(s)-128:]
	}
	return strings.TrimLeft(s, ".-")
}
