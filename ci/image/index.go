package image

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ErrPlatforms says that the images of several archives are not one image of several platforms.
var ErrPlatforms = errors.New("several archives have to be of a platform each")

// archived is an image with the archive that it is from.
type archived struct {
	v1.Image
	file string
}

// published is what a registry keeps under a digest.
type published interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

// join makes an index of several images, whose order does not matter; one image stays what it is.
func join(images []archived) (published, error) {
	if len(images) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrArchive)
	}
	if len(images) == 1 {
		return images[0].Image, nil
	}
	entries := map[string]mutate.IndexAddendum{}
	files := map[string]string{}
	var shared map[string]string
	for i, img := range images {
		platform, err := platformOf(img)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", img.file, err)
		}
		name := platform.String()
		if files[name] != "" {
			return nil, fmt.Errorf("%s: %w: it is of %s, as %s is", img.file, ErrPlatforms, name, files[name])
		}
		manifest, err := img.Manifest()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", img.file, err)
		}
		files[name], entries[name] = img.file, mutate.IndexAddendum{Add: img.Image, Descriptor: v1.Descriptor{Platform: platform}}
		if i == 0 {
			shared = maps.Clone(manifest.Annotations)
		}
		maps.DeleteFunc(shared, func(name, value string) bool { return manifest.Annotations[name] != value })
	}
	index := v1.ImageIndex(empty.Index)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		index = mutate.AppendManifests(index, entries[name])
	}
	return mutate.Annotations(index, shared).(v1.ImageIndex), nil
}

// platformOf is the platform that an image's configuration names, as registries call it.
func platformOf(img v1.Image) (*v1.Platform, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if config.OS == "" || config.Architecture == "" {
		return nil, fmt.Errorf("%w: it names none", ErrPlatforms)
	}
	plain := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	name, err := normal(plain.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlatforms, err)
	}
	return v1.ParsePlatform(name)
}

// platformsOf are the platforms of an index; attestations beside an image of a builder are of none.
func platformsOf(index v1.ImageIndex) ([]string, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.MediaType.IsImage() && !strings.HasPrefix(m.Platform.String(), "unknown") {
			names = append(names, m.Platform.String())
		}
	}
	return names, nil
}
