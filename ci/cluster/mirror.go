package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Mirrored is an image as a mirror has it.
type Mirrored struct {
	// Image is its reference in full: redis:7 is docker.io/library/redis:7.
	Image string `json:"image"`
	// Path is its repository in the mirror, Tag what to push it by.
	Path string `json:"path"`
	Tag  string `json:"tag"`
	// Digest is what it has to have there, empty for any.
	Digest string `json:"digest,omitempty"`
}

// Mirror says where a mirror has images. It has them by their paths, whatever registry they are of, so two images that
// differ in nothing else cannot both be there.
func Mirror(images []string) ([]Mirrored, error) {
	var all []Mirrored
	for _, image := range images {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not an image: %w", ErrOptions, image, err)
		}
		m := Mirrored{Path: reference.Path(named)}
		if digested, ok := named.(reference.Digested); ok {
			m.Digest = digested.Digest().String()
			// A registry takes nothing without a tag.
			m.Tag = strings.ReplaceAll(m.Digest, ":", "-")
		} else {
			named = reference.TagNameOnly(named)
		}
		if tagged, ok := named.(reference.Tagged); ok {
			m.Tag = tagged.Tag()
		}
		m.Image = named.String()
		if slices.Contains(all, m) {
			continue
		}
		for _, other := range all {
			if other.Path == m.Path && other.Tag == m.Tag {
				return nil, fmt.Errorf("%w: %s and %s would be one image in a mirror, which has no registries' names; use one of them", ErrOptions, other.Image, m.Image)
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// at is an image's reference in a mirror, the image itself where there is none.
func at(mirror, image string) (string, error) {
	if mirror == "" {
		return image, nil
	}
	found, err := Mirror([]string{image})
	if err != nil {
		return "", err
	}
	if found[0].Digest != "" {
		return mirror + "/" + found[0].Path + "@" + found[0].Digest, nil
	}
	return mirror + "/" + found[0].Path + ":" + found[0].Tag, nil
}
