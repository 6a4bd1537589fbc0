package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// Media types of a chart in a registry, those of Helm's registry package, which would bring another registry client
// along.
const (
	configMediaType types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	layerMediaType  types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Artifact is a chart as registries keep it, and as Helm and Argo CD pull it from there,
// https://helm.sh/docs/topics/registries.
type Artifact struct {
	v1.Image
	// Name and Version are the chart's own.
	Name, Version string
}

// Tag is the artifact's, its version: Helm writes the + that a tag cannot have as _.
func (a *Artifact) Tag() string { return strings.ReplaceAll(a.Version, "+", "_") }

// NameBeside is what the artifact is called in the folder of an image that is named without tag: as the chart, which is
// what Argo CD wants, and helm push does. Where the image is called that itself, -chart follows.
func (a *Artifact) NameBeside(image string) string {
	if name := image[:strings.LastIndex(image, "/")+1] + a.Name; name != image {
		return name
	}
	return image + "-chart"
}

// NameBeside is what the artifact of the chart in dir is called in the folder of an image, see Artifact.NameBeside.
func NameBeside(ctx context.Context, dir, image string) (string, error) {
	c, err := load(ctx, dir)
	if err != nil {
		return "", err
	}
	return (&Artifact{Name: c.Name()}).NameBeside(image), nil
}

// NewArtifact packages the chart in dir for a registry. The same chart at the same time is the same digest.
func NewArtifact(ctx context.Context, dir string, created time.Time) (*Artifact, error) {
	out, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	file, err := Package(ctx, dir, out, created)
	if err != nil {
		return nil, err
	}
	archive, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrChart, dir, sentence(err))
	}
	content := &artifact{layer: static.NewLayer(archive, layerMediaType)}
	if content.config, err = json.Marshal(c.Metadata); err != nil {
		return nil, err
	}
	if err := content.describe(map[string]string{
		"org.opencontainers.image.title":       c.Metadata.Name,
		"org.opencontainers.image.version":     c.Metadata.Version,
		"org.opencontainers.image.description": c.Metadata.Description,
		"org.opencontainers.image.created":     created.UTC().Format(time.RFC3339),
	}); err != nil {
		return nil, err
	}
	img, err := partial.CompressedToImage(content)
	if err != nil {
		return nil, err
	}
	return &Artifact{Image: img, Name: c.Metadata.Name, Version: c.Metadata.Version}, nil
}

// artifact is one layer with a configuration that is no image's.
type artifact struct {
	config, manifest []byte
	layer            v1.Layer
}

// describe makes the manifest.
func (a *artifact) describe(annotations map[string]string) error {
	layer, err := partial.Descriptor(a.layer)
	if err != nil {
		return err
	}
	config, err := partial.Descriptor(static.NewLayer(a.config, configMediaType))
	if err != nil {
		return err
	}
	a.manifest, err = json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        *config,
		Layers:        []v1.Descriptor{*layer},
		Annotations:   annotations,
	})
	return err
}

func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *artifact) RawConfigFile() ([]byte, error)      { return a.config, nil }

func (a *artifact) LayerByDigest(v1.Hash) (partial.CompressedLayer, error) { return a.layer, nil }
