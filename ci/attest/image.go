package attest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	cosignbundle "github.com/sigstore/cosign/v3/pkg/cosign/bundle"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// ErrChanged says that what a registry holds under an image's digest is not what the digest stands for.
var ErrChanged = errors.New("the image was tampered with: its content does not match its digest")

// Image is a published image that statements are on.
type Image struct {
	// Name is what people call it, without digest; it can differ from where it is reached.
	Name string
	// Created is the time of the image.
	Created time.Time
	// Revision is the commit that the image's own label names.
	Revision string
	// Platform is the one that an image is for which is in the list of another; empty for one that is called by its name.
	Platform string
	// Platforms are the images in its list, in their order there; of one that is no list it is itself alone.
	Platforms []*Image
	// Content is the image itself, read from the registry as it is asked for; nil for a list.
	Content v1.Image

	digest  name.Digest
	options image.Options
}

// platformsLimit bounds how many images a list may have: each is read.
const platformsLimit = 64

// ErrList says that a list of images is not one of an image for several platforms.
var ErrList = errors.New("no image of several platforms")

// Open finds the image that ref names by its digest. It is called called, or what ref calls it.
func Open(ctx context.Context, ref, called string, o image.Options) (*Image, error) {
	parsed, err := image.Parse(ref, o)
	if err != nil {
		return nil, err
	}
	pinned, ok := parsed.(name.Digest)
	if !ok {
		return nil, fmt.Errorf("%w: %s may be another image tomorrow, write %s@sha256:…", image.ErrNoDigest, ref, ref)
	}
	i := &Image{Name: cmp.Or(called, pinned.Context().Name()), digest: pinned, options: o}
	got, err := remote.Get(pinned, o.Remote(ctx)...)
	if err != nil {
		return nil, i.explain(err)
	}
	if got.MediaType.IsIndex() {
		err = i.list(ctx, got)
	} else {
		i.Platforms = []*Image{i}
		err = i.content(got)
	}
	if err != nil {
		return nil, i.explain(err)
	}
	return i, nil
}

// list finds the images of a list.
func (i *Image) list(ctx context.Context, got *remote.Descriptor) error {
	index, err := got.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		switch {
		case d.Platform != nil && d.Platform.OS == "unknown":
			continue // what a builder says of its image
		case !d.MediaType.IsImage():
			return fmt.Errorf("%w: its list has %s, which is no image", ErrList, d.Digest)
		case len(i.Platforms) == platformsLimit:
			return fmt.Errorf("%w: its list has more than %d images, and no more are read", ErrList, platformsLimit)
		}
		p := &Image{Name: i.Name, digest: i.digest.Context().Digest(d.Digest.String()), options: i.options}
		got, err := remote.Get(p.digest, i.options.Remote(ctx)...)
		if err != nil {
			return err
		}
		if err := p.content(got); err != nil {
			return err
		}
		p.Platforms = []*Image{p}
		config, err := p.Content.ConfigFile()
		if err != nil {
			return err
		}
		of := cmp.Or(d.Platform, config.Platform())
		if of == nil || of.OS == "" {
			return fmt.Errorf("%w: nothing says which one %s is for", ErrList, d.Digest)
		}
		p.Platform = of.String()
		i.Platforms = append(i.Platforms, p)
	}
	if len(i.Platforms) == 0 {
		return fmt.Errorf("%w: its list is empty", ErrList)
	}
	i.Created, i.Revision = i.Platforms[0].Created, i.Platforms[0].Revision
	return nil
}

// content reads what an image says of itself.
func (i *Image) content(got *remote.Descriptor) (err error) {
	if i.Content, err = got.Image(); err != nil {
		return err
	}
	config, err := i.Content.ConfigFile()
	if err != nil {
		return err
	}
	i.Created, i.Revision = config.Created.UTC(), config.Config.Labels["org.opencontainers.image.revision"]
	if !i.Created.IsZero() {
		return nil
	}
	// An artifact, a chart for example, has a configuration of another kind.
	manifest, err := i.Content.Manifest()
	if err != nil {
		return err
	}
	if at, err := time.Parse(time.RFC3339, manifest.Annotations[createdAnnotation]); err == nil {
		i.Created = at.UTC()
	}
	return nil
}

// createdAnnotation is where the OCI image specification has the time of an artifact, annotations.md.
const createdAnnotation = "org.opencontainers.image.created"

// Digest is the image's identity, sha256:….
func (i *Image) Digest() string { return i.digest.DigestStr() }

// Ref is the image by its digest, as people call it.
func (i *Image) Ref() string { return i.Name + "@" + i.Digest() }

// Reached is the image by its digest, as its registry is reached from here.
func (i *Image) Reached() string { return i.digest.Name() }

func (i *Image) sum() string { return strings.TrimPrefix(i.Digest(), "sha256:") }

// Statement says something of the image.
func (i *Image) Statement(predicateType string, predicate []byte) Statement {
	return NewStatement(i.Name, i.sum(), predicateType, predicate)
}

// Check reads the whole image, of all its platforms, and refuses one that is not what its digest stands for.
func (i *Image) Check() error {
	for _, p := range i.Platforms {
		layers, err := p.Content.Layers()
		if err != nil {
			return i.explain(err)
		}
		for _, layer := range layers {
			if err := drain(layer); err != nil {
				return i.explain(err)
			}
		}
	}
	return nil
}

// drain reads a layer to its end, where the library compares its digest.
func drain(layer v1.Layer) (err error) {
	text, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	_, err = io.Copy(io.Discard, text)
	return err
}

func (i *Image) explain(err error) error {
	if changed(err) {
		return fmt.Errorf("%s: %w (%w)", i.Ref(), ErrChanged, err)
	}
	return image.Explain(i.Ref(), err)
}

// changed says whether an error is that a content is not what its digest stands for: the library's own has no type.
func changed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "match") && (strings.Contains(text, "digest") || strings.Contains(text, "expected size")) || strings.Contains(text, "error verifying")
}

// Bundle is a Sigstore bundle beside an image.
type Bundle struct {
	// Digest is that of its manifest in the registry.
	Digest string
	// PredicateType is what its manifest says that it holds; who believes it has not looked.
	PredicateType string
	// Text is the bundle, empty where Problem says why not.
	Text    []byte
	Problem error
}

// Read reads the statement of a bundle that is beside an image.
func (b Bundle) Read(v *Verifier, i *Image) (*Statement, error) {
	if b.Problem != nil {
		return nil, b.Problem
	}
	return v.Verify(b.Text, i.sum())
}

// bundleLimit bounds what is read of a bundle: anybody who may write to the registry may attach one.
const bundleLimit = 32 << 20

// ErrTooLarge says that a bundle is larger than what is read of one.
var ErrTooLarge = fmt.Errorf("more than %d MB, which is not read", bundleLimit>>20)

// Bundles lists what is beside the image. Referrers of other kinds are left out; one that cannot be read is in the list,
// with its problem, and does not hide the others. With predicate types those that are listed as of others are not read:
// each takes requests, which registries limit.
func (i *Image) Bundles(ctx context.Context, predicateTypes ...string) ([]Bundle, error) {
	referrers, err := i.referrers(ctx)
	if err != nil {
		return nil, err
	}
	var found []Bundle
	for _, d := range referrers {
		if d.MediaType.IsIndex() {
			continue
		}
		b := Bundle{Digest: d.Digest.String(), PredicateType: d.Annotations[ociremote.BundlePredicateType]}
		if len(predicateTypes) > 0 && b.PredicateType != "" && !slices.Contains(predicateTypes, b.PredicateType) {
			continue
		}
		ours, err := i.read(ctx, &b)
		if err != nil && fatal(ctx, err) {
			return nil, fmt.Errorf("read what is attached: %w", i.explain(err))
		}
		switch {
		case err != nil && (errors.Is(err, ErrTooLarge) || errors.Is(err, ErrBroken)):
			b.Problem = err
		case err != nil && changed(err):
			b.Problem = fmt.Errorf("%w: %w", ErrTampered, err)
		case err != nil:
			b.Problem = fmt.Errorf("%w: %w", ErrBroken, image.Explain(b.Digest, err))
		}
		if ours || err != nil && mayBeBundle(d) {
			found = append(found, b)
		}
	}
	return found, nil
}

func isBundle(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.dev.sigstore.bundle")
}

// mayBeBundle says whether a referrer that cannot be read could be a bundle. Registries differ in what they list as its
// type: that of the artifact, or that of its empty configuration.
func mayBeBundle(d v1.Descriptor) bool {
	return d.ArtifactType == "" || d.ArtifactType == emptyConfig || isBundle(d.ArtifactType)
}

const emptyConfig = "application/vnd.oci.empty.v1+json"

// fatal says whether an error is one of the registry as a whole, and not of the one thing that was asked for.
func fatal(ctx context.Context, err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
			return true
		}
		return false
	}
	var network net.Error
	return ctx.Err() != nil || errors.As(err, &network)
}

// referrersLimit bounds how much of what is attached to an image is looked at: anybody who may write to the registry may
// attach more, and each takes a request. A release attaches four, and two for each commit that names its image.
const referrersLimit = 256

// ErrTooMany says that more is attached to an image than is looked at.
var ErrTooMany = fmt.Errorf("more than %d things are attached to it, and none of them is read: have the registry delete those that are not the release's", referrersLimit)

// referrers lists all that is attached to the image.
func (i *Image) referrers(ctx context.Context) ([]v1.Descriptor, error) {
	index, err := ociremote.Referrers(i.digest, "", ociremote.WithRemoteOptions(i.options.Remote(ctx)...))
	if err != nil {
		return nil, fmt.Errorf("read what is attached: %w", i.explain(err))
	}
	if n := len(index.Manifests); n > referrersLimit {
		return nil, fmt.Errorf("%s: %w (%d)", i.Ref(), ErrTooMany, n)
	}
	return index.Manifests, nil
}

// referrer is the manifest of something that is attached, none where it is a list of manifests.
func (i *Image) referrer(ctx context.Context, digest string) (*remote.Descriptor, *v1.Manifest, error) {
	got, err := remote.Get(i.digest.Context().Digest(digest), i.options.Remote(ctx)...)
	if err != nil {
		return nil, nil, err
	}
	if !got.MediaType.IsImage() {
		return got, nil, nil
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return got, manifest, nil
}

// read reads a bundle, and says whether it is one.
func (i *Image) read(ctx context.Context, b *Bundle) (bool, error) {
	got, manifest, err := i.referrer(ctx, b.Digest)
	if err != nil || manifest == nil || len(manifest.Layers) != 1 || !isBundle(string(manifest.Layers[0].MediaType)) {
		return false, err
	}
	b.PredicateType = manifest.Annotations[ociremote.BundlePredicateType]
	if size := manifest.Layers[0].Size; size > bundleLimit {
		return true, fmt.Errorf("%d MB: %w", size>>20, ErrTooLarge)
	}
	content, err := got.Image()
	if err != nil {
		return true, err
	}
	layers, err := content.Layers()
	if err != nil {
		return true, err
	}
	text, err := layers[0].Compressed()
	if err != nil {
		return true, err
	}
	all, err := io.ReadAll(io.LimitReader(text, bundleLimit+1))
	if err := errors.Join(err, text.Close()); err != nil {
		return true, err
	}
	if len(all) > bundleLimit {
		return true, ErrTooLarge
	}
	b.Text = all
	return true, nil
}

// Attached is a statement beside its image.
type Attached struct {
	PredicateType string `json:"predicateType"`
	// Digest is that of the bundle's manifest in the registry.
	Digest string `json:"digest"`
	// Platform is that of the image which it is on, where that is one of several; empty where it is on all of them.
	Platform string `json:"platform,omitempty"`
	// Kept says that it was there before.
	Kept bool `json:"kept,omitempty"`
}

// Attach signs the statements and puts them beside the image. One that is there already, by the same signer, stays the
// only one of its kind: an interrupted call goes on, and a second one changes nothing.
func (i *Image) Attach(ctx context.Context, s *Signer, statements ...Statement) ([]Attached, error) {
	before, err := i.find(ctx, s, statements)
	if err != nil {
		return nil, err
	}
	for n, statement := range statements {
		if before[n] != "" {
			continue
		}
		bundle, err := s.Sign(ctx, statement)
		if err != nil {
			return nil, err
		}
		if err := i.write(ctx, bundle, statement.PredicateType); err != nil {
			return nil, fmt.Errorf("attach the %s: %w", Title(statement.PredicateType), err)
		}
	}
	after, err := i.find(ctx, s, statements)
	if err != nil {
		return nil, err
	}
	result := make([]Attached, len(statements))
	for n, statement := range statements {
		if after[n] == "" {
			return nil, i.hidden(statement.PredicateType)
		}
		result[n] = Attached{PredicateType: statement.PredicateType, Digest: after[n], Platform: i.Platform, Kept: before[n] != ""}
	}
	return result, nil
}

// mediaTypes are those of statements that go without a signature.
var mediaTypes = map[string]types.MediaType{SPDX: "application/spdx+json", CycloneDX: "application/vnd.cyclonedx+json"}

// AttachUnsigned puts the bare content of SBOMs beside the image. A second call writes the same again.
func (i *Image) AttachUnsigned(ctx context.Context, statements ...Statement) ([]Attached, error) {
	for _, s := range statements {
		mediaType := mediaTypes[s.PredicateType]
		if err := i.put(ctx, s.Predicate, mediaType, nil); err != nil {
			return nil, fmt.Errorf("attach the %s: %w", Title(s.PredicateType), err)
		}
	}
	referrers, err := i.referrers(ctx)
	if err != nil {
		return nil, err
	}
	attached := make([]Attached, len(statements))
	for n, s := range statements {
		digest, err := i.holder(ctx, referrers, s.Predicate, mediaTypes[s.PredicateType])
		if err != nil {
			return nil, err
		}
		if digest == "" {
			return nil, i.hidden(s.PredicateType)
		}
		attached[n] = Attached{PredicateType: s.PredicateType, Digest: digest, Platform: i.Platform}
	}
	return attached, nil
}

// holder finds the referrer that holds a text, and nothing where none does; others may have attached some of the same kind.
func (i *Image) holder(ctx context.Context, referrers []v1.Descriptor, text []byte, mediaType types.MediaType) (string, error) {
	sum, _, err := v1.SHA256(bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	for _, d := range referrers {
		if d.MediaType.IsIndex() {
			continue
		}
		_, manifest, err := i.referrer(ctx, d.Digest.String())
		if err != nil && fatal(ctx, err) {
			return "", fmt.Errorf("read what is attached: %w", i.explain(err))
		}
		if err == nil && manifest != nil && len(manifest.Layers) == 1 && manifest.Layers[0].Digest == sum && manifest.Layers[0].MediaType == mediaType {
			return d.Digest.String(), nil
		}
	}
	return "", nil
}

func (i *Image) hidden(predicateType string) error {
	return fmt.Errorf("%s: the registry took the %s and does not show it: it has to list referrers, or to keep the tag sha256-…", i.Ref(), Title(predicateType))
}

// find finds the statements among what the signer has attached, and returns their digests.
func (i *Image) find(ctx context.Context, s *Signer, statements []Statement) ([]string, error) {
	var kinds []string
	for _, statement := range statements {
		kinds = append(kinds, statement.PredicateType)
	}
	bundles, err := i.Bundles(ctx, kinds...)
	if err != nil {
		return nil, err
	}
	there := map[string]string{}
	for _, b := range bundles {
		statement, err := b.Read(s.Verifier, i)
		if err != nil {
			continue // somebody else's, or of no use
		}
		text, err := statement.JSON()
		if err != nil {
			return nil, err
		}
		there[string(text)] = b.Digest
	}
	digests := make([]string, len(statements))
	for n, statement := range statements {
		text, err := statement.JSON()
		if err != nil {
			return nil, err
		}
		digests[n] = there[string(text)]
	}
	return digests, nil
}

// write attaches a bundle. The annotations are those of cosign, with the image's own time: the library's
// WriteAttestationNewBundleFormat writes that of the moment.
func (i *Image) write(ctx context.Context, bundle []byte, predicateType string) error {
	if len(bundle) > bundleLimit {
		return fmt.Errorf("%d MB: %w", len(bundle)>>20, ErrTooLarge)
	}
	return i.put(ctx, bundle, cosignbundle.BundleV03MediaType, map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope",
		ociremote.BundlePredicateType: predicateType,
	})
}

// put attaches a text. The same one at another time is the same manifest.
func (i *Image) put(ctx context.Context, text []byte, mediaType types.MediaType, annotations map[string]string) error {
	options := []ociremote.Option{ociremote.WithRemoteOptions(i.options.Remote(ctx)...)}
	if i.options.PlainHTTP {
		options = append(options, ociremote.WithNameOptions(name.Insecure))
	}
	all := map[string]string{createdAnnotation: i.Created.Format(time.RFC3339)}
	maps.Copy(all, annotations)
	if err := ociremote.WriteReferrer(i.digest, string(mediaType), []v1.Layer{static.NewLayer(text, mediaType)}, all, options...); err != nil {
		return image.ExplainPush(i.Ref(), err)
	}
	return nil
}
