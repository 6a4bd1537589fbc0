// Package image reads a published image from its registry: its identity, its sizes, and whether it is as slim and as
// bare as it is meant to be.
package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

var (
	// ErrNotFound says that the registry has no such image.
	ErrNotFound = errors.New("the registry has no such image")
	// ErrUnauthorized says that the registry wants another credential.
	ErrUnauthorized = errors.New("the registry wants another credential")
	// ErrLimited says that the registry limits the rate of requests.
	ErrLimited = errors.New("the registry limits the rate of requests")
	// ErrUnreachable says that the registry did not answer, or not to the end.
	ErrUnreachable = errors.New("the registry does not answer")
)

// Options say how to reach the registry.
type Options struct {
	// PlainHTTP talks http to the registry, as the embedded one does.
	PlainHTTP bool
	// Username and Password sign in; without them the docker CLI's own sign-in is used.
	Username string
	Password string
	// Platform chooses from an image of several platforms, linux/arm64; empty means linux/amd64, or where it is not of
	// that one the first of its list.
	Platform string
	// ManifestOnly leaves the content of layers unread; that they are there is looked at.
	ManifestOnly bool
	// Pause is that before the first retry of a request that a registry limits or fails at; it doubles, five times. 0
	// means a second.
	Pause time.Duration
}

// Inspection is what a registry says about an image.
type Inspection struct {
	// Ref is the reference that was read.
	Ref string `json:"ref"`
	// Digest is the identity that the reference stands for.
	Digest string `json:"digest"`
	// Manifest is the digest of the platform's own manifest; the same as Digest where there is one platform.
	Manifest string `json:"manifest"`
	// Platform is the one whose manifest was read, Platforms are all that the image is of.
	Platform  string   `json:"platform"`
	Platforms []string `json:"platforms"`
	// CompressedBytes is what a pull transfers: layers, configuration and manifest.
	CompressedBytes int64 `json:"compressedBytes"`
	// DiskBytes is the size of all files once unpacked; 0 where layers were not read.
	DiskBytes  int64             `json:"diskBytes"`
	Created    time.Time         `json:"created"`
	User       string            `json:"user"`
	WorkingDir string            `json:"workingDir"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	Env        []string          `json:"env"`
	Ports      []string          `json:"ports"`
	StopSignal string            `json:"stopSignal,omitempty"`
	Labels     map[string]string `json:"labels"`
	Layers     []Layer           `json:"layers"`
	// Files is the number of files, folders not counted; 0 where layers were not read.
	Files int `json:"files"`
}

// Layer is one layer of an image.
type Layer struct {
	Digest          string `json:"digest"`
	CompressedBytes int64  `json:"compressedBytes"`
	DiskBytes       int64  `json:"diskBytes"`
}

// File is a file of an image, as a container sees it.
type File struct {
	// Path starts with a slash.
	Path string
	Mode int64
	Size int64
	// Link is where a symbolic link leads.
	Link string
}

// Inspect reads an image from its registry, layers included unless o says otherwise.
func Inspect(ctx context.Context, ref string, o Options) (Inspection, []File, error) {
	parsed, err := Parse(ref, o)
	if err != nil {
		return Inspection{}, nil, err
	}
	descriptor, err := remote.Get(parsed, o.Remote(ctx)...)
	if err != nil {
		return Inspection{}, nil, Explain(ref, err)
	}
	img, all, err := o.choose(descriptor)
	if err != nil {
		return Inspection{}, nil, Explain(ref, err)
	}
	read := content(unpack)
	if o.ManifestOnly {
		read = present(ctx, parsed.Context(), o)
	}
	i, files, err := inspect(img, read)
	if err != nil {
		return Inspection{}, nil, Explain(ref, err)
	}
	if i.Ref, i.Digest, i.Platforms = ref, descriptor.Digest.String(), all; all == nil {
		i.Platforms = []string{i.Platform}
	}
	return i, files, nil
}

// choose is the image of one platform, and of an index also what platforms it has.
func (o Options) choose(d *remote.Descriptor) (img v1.Image, all []string, err error) {
	if !d.MediaType.IsIndex() {
		img, err = d.Image()
		return img, nil, err
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, nil, err
	}
	if all, err = platformsOf(index); err != nil {
		return nil, nil, err
	}
	wanted := o.Platform
	switch {
	case wanted == "" && len(all) > 0 && !slices.Contains(all, preferred):
		wanted = all[0]
	case wanted == "":
		wanted = preferred
	}
	platform, err := v1.ParsePlatform(wanted)
	if err != nil {
		return nil, nil, fmt.Errorf("platform %q: %w", wanted, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.Satisfies(*platform) {
			img, err = index.Image(m.Digest)
			return img, all, err
		}
	}
	return nil, nil, fmt.Errorf("%w: it is of %s, not of %s", ErrNotFound, strings.Join(all, ", "), wanted)
}

// Parse reads a reference for the library of registries.
func Parse(ref string, o Options) (name.Reference, error) {
	if _, err := imageref.Parse(ref); err != nil {
		return nil, err
	}
	var options []name.Option
	if o.PlainHTTP {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", imageref.ErrReference, err)
	}
	return parsed, nil
}

// content applies a layer to a tree, and returns the size of its files.
type content func(layer v1.Layer, tree map[string]File) (size int64, err error)

// present reads nothing of a layer, and refuses one that a registry does not have in full.
func present(ctx context.Context, in name.Repository, o Options) content {
	return func(layer v1.Layer, _ map[string]File) (int64, error) {
		digest, err := layer.Digest()
		if err != nil {
			return 0, err
		}
		want, err := layer.Size()
		if err != nil {
			return 0, err
		}
		there, err := remote.Layer(in.Digest(digest.String()), o.Remote(ctx)...)
		if err != nil {
			return 0, err
		}
		size, err := there.Size()
		if err == nil && size != want {
			err = fmt.Errorf("%w: it has %d bytes, not %d", ErrNotFound, size, want)
		}
		return 0, err
	}
}

func inspect(img v1.Image, read content) (Inspection, []File, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return Inspection{}, nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return Inspection{}, nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return Inspection{}, nil, err
	}
	size, err := img.Size()
	if err != nil {
		return Inspection{}, nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Inspection{}, nil, err
	}
	i := Inspection{
		Manifest:        digest.String(),
		Platform:        v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}.String(),
		CompressedBytes: size + manifest.Config.Size,
		Created:         config.Created.UTC(),
		User:            config.Config.User,
		WorkingDir:      config.Config.WorkingDir,
		Entrypoint:      config.Config.Entrypoint,
		Cmd:             config.Config.Cmd,
		Env:             config.Config.Env,
		StopSignal:      config.Config.StopSignal,
		Labels:          config.Config.Labels,
		Ports:           ports(config.Config.ExposedPorts),
	}
	tree := map[string]File{}
	for n, layer := range layers {
		l := Layer{Digest: manifest.Layers[n].Digest.String(), CompressedBytes: manifest.Layers[n].Size}
		if l.DiskBytes, err = read(layer, tree); err != nil {
			return Inspection{}, nil, fmt.Errorf("layer %s: %w", l.Digest, err)
		}
		i.CompressedBytes += l.CompressedBytes
		i.DiskBytes += l.DiskBytes
		i.Layers = append(i.Layers, l)
	}
	files := sorted(tree)
	i.Files = len(files)
	return i, files, nil
}

// unpack applies a layer to a tree, whiteouts included, and returns the size of the layer's files: a file that a
// later layer removes or replaces is on disk all the same.
func unpack(layer v1.Layer, tree map[string]File) (size int64, err error) {
	text, err := layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	links := map[string]string{}
	r := tar.NewReader(text)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		p := path.Join("/", h.Name)
		dir, base := path.Split(p)
		if base == ".wh..wh..opq" {
			remove(tree, path.Clean(dir), false)
			continue
		}
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			remove(tree, path.Join(dir, hidden), true)
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
			size += h.Size
		case tar.TypeLink:
			links[p] = path.Join("/", h.Linkname)
			continue
		}
		tree[p] = File{Path: p, Mode: h.Mode, Size: h.Size, Link: h.Linkname}
	}
	for p, target := range links {
		f := tree[target]
		f.Path = p
		tree[p] = f
	}
	// The reader must be drained for the layer's digest to be checked.
	_, err = io.Copy(io.Discard, text)
	return size, err
}

func remove(tree map[string]File, p string, itself bool) {
	if itself {
		delete(tree, p)
	}
	for other := range tree {
		if strings.HasPrefix(other, strings.TrimSuffix(p, "/")+"/") {
			delete(tree, other)
		}
	}
}

// Explain says in one sentence why a registry did not give an image.
func Explain(ref string, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch code := answer.StatusCode; {
		case code == http.StatusNotFound:
			return fmt.Errorf("%s: %w", ref, ErrNotFound)
		case code == http.StatusUnauthorized, code == http.StatusForbidden:
			return fmt.Errorf("%s: %w: it answers %d", ref, ErrUnauthorized, code)
		case code == http.StatusTooManyRequests:
			return fmt.Errorf("%s: %w; wait, or sign in as an account with a higher limit", ref, ErrLimited)
		case code >= http.StatusInternalServerError:
			return fmt.Errorf("%s: %w: it answers %d", ref, ErrUnreachable, code)
		}
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w: %w", ref, ErrUnreachable, err)
	}
	return fmt.Errorf("%s: %w", ref, err)
}
