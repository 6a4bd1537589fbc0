package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ErrArchive says that a file is not the archive of one image.
var ErrArchive = errors.New("not an OCI archive of one image")

// Publish pushes the image in an OCI archive (an OCI image layout in a tar file) under a tag and returns its digest.
//
// Builders stamp an image with the time at which they made it. Here the image and its history get the time created
// instead, so that the same files and configuration are the same digest wherever and whenever they were built.
func Publish(ctx context.Context, archive, ref string, created time.Time, o Options) (digest string, err error) {
	parsed, err := parse(ref, o)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	img, err := readArchive(archive, dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	if img, err = stamp(img, created); err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	hash, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	if err := remote.Write(parsed, img, o.remote(ctx)...); err != nil {
		return "", registryError(ref, err)
	}
	return hash.String(), nil
}

// readArchive unpacks the archive into dir; its layers are read from there.
func readArchive(archive, dir string) (v1.Image, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(root, h.Name, tr); err != nil {
			return nil, err
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	if len(manifest.Manifests) != 1 || !manifest.Manifests[0].MediaType.IsImage() {
		return nil, fmt.Errorf("%w: it holds %d entries", ErrArchive, len(manifest.Manifests))
	}
	return index.Image(manifest.Manifests[0].Digest)
}

func writeFile(root *os.Root, name string, content io.Reader) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	out, err := root.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, content)
	return err
}

// stamp gives the image and all of its history one time.
func stamp(img v1.Image, created time.Time) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: created.UTC()}
	for i := range config.History {
		config.History[i].Created = config.Created
	}
	return mutate.ConfigFile(img, config)
}
