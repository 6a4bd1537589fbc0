package airgap

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is a container image made of tar archives, kept as an OCI layout.
type image struct {
	// ref is the official name the mirror serves it under; empty for an
	// image that is not served.
	ref string
	// compressed stores gzip layers. Layers that only this machine reads stay
	// plain: writing and reading them is many times faster.
	compressed bool
	config     v1.Config
}

// part is the image as a part: layers gives the tar archives, lowest first,
// once the parts needed are there.
func (img image) part(name string, needs []*Part, inputs []string, layers func(ctx context.Context, w Work) ([]string, error)) *Part {
	config, err := json.Marshal(img.config)
	if err != nil {
		panic(err) // strings and flags only
	}
	return &Part{
		Name:   name,
		Needs:  needs,
		Inputs: append([]string{"layers-2", img.ref, fmt.Sprint(img.compressed), string(config)}, inputs...),
		Build: func(ctx context.Context, w Work) error {
			tars, err := layers(ctx, w)
			if err != nil {
				return err
			}
			return img.write(tars, w.Out)
		},
	}
}

// write writes the image as an OCI layout to dir.
func (img image) write(layers []string, dir string) error {
	out, err := img.assemble(layers)
	if err != nil {
		return err
	}
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return index.AppendImage(out)
}

// assemble makes the image of tar archives, which it reads when it is read.
func (img image) assemble(layers []string) (v1.Image, error) {
	out := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	out = mutate.ConfigMediaType(out, types.OCIConfigJSON)
	for _, path := range layers {
		layer, err := plainLayer(path)
		if img.compressed {
			layer, err = tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9))
		}
		if err != nil {
			return nil, fmt.Errorf("layer of %s: %w", path, err)
		}
		if out, err = mutate.AppendLayers(out, layer); err != nil {
			return nil, err
		}
	}
	cfg, err := out.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.OS, cfg.Config = "amd64", "linux", img.config
	return mutate.ConfigFile(out, cfg)
}

// tarLayer is a tar archive as a layer, uncompressed: tarball.LayerFromFile
// knows compressed ones only.
type tarLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

func plainLayer(path string) (v1.Layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest, size, err := v1.SHA256(f)
	return tarLayer{path, digest, size}, err
}

func (l tarLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l tarLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l tarLayer) Size() (int64, error)                 { return l.size, nil }
func (l tarLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l tarLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l tarLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// readImage is the one image of an OCI layout.
func readImage(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images, not one", dir, len(manifest.Manifests))
	}
	return index.Image(manifest.Manifests[0].Digest)
}

// tarDir writes the files below dir into a tar archive, under prefix, in
// lexical order, with owners by number and without times: the same files make the
// same bytes.
func tarDir(dir, prefix, archive string) (err error) {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tw := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = filepath.ToSlash(filepath.Join(prefix, rel))
		if d.IsDir() {
			h.Name += "/"
		}
		h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(1, 0), time.Time{}, time.Time{}
		h.Uname, h.Gname = "", ""
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		src, err := os.Open(path)
		if err != nil {
			return err
		}
		defer src.Close()
		_, err = io.Copy(tw, src)
		return err
	})
	return errors.Join(err, tw.Close())
}
