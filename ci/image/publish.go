package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// ErrArchive says that a file is not the archive of one image.
var ErrArchive = errors.New("not an OCI archive of one image")

// ErrTaken says that a tag is another image already.
var ErrTaken = errors.New("the tag is that of another image already")

// ErrOther says that an image is not the one to publish.
var ErrOther = errors.New("what was made is another image")

// Publication says how to publish an image.
type Publication struct {
	// Created is the time of the image and of its history.
	Created time.Time
	// AlsoTags are more tags to give it.
	AlsoTags []string
	// Digest, where given, is the only image to publish: another one is refused, and nothing is pushed.
	Digest string
	// Retag lets any tag be taken from another image; otherwise only those that move, see imageref.Moves.
	Retag bool
}

// Published is an image in its registry.
type Published struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	// Tags are all tags asked for, that of Ref first.
	Tags []Tag `json:"tags"`
}

// Tag is a tag of a published image.
type Tag struct {
	Tag string `json:"tag"`
	// Former is the digest that it was taken from.
	Former string `json:"former,omitempty"`
	// Kept says that it was this image's before.
	Kept bool `json:"kept,omitempty"`
}

// Publish pushes the image in an OCI archive (an OCI image layout in a tar file) under its tags; of several archives, each
// of another platform, it makes one image of several platforms, an index. What the registry holds of it is not uploaded
// again, so a push that was interrupted goes on. Nothing is pushed where a tag is taken.
//
// Builders stamp an image with the time at which they made it, and with how they came by each layer. Here the image gets
// the time created and a history of its layers instead, so that the same files and configuration are the same digest
// wherever and whenever they were built.
func Publish(ctx context.Context, archives []string, ref string, p Publication, o Options) (result Published, err error) {
	parsed, err := Parse(ref, o)
	if err != nil {
		return Published{}, err
	}
	tags, err := p.tags(parsed)
	if err != nil {
		return Published{}, err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return Published{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var images []archived
	for _, file := range archives {
		img, err := readArchive(file, filepath.Join(dir, strconv.Itoa(len(images))))
		if err != nil {
			return Published{}, fmt.Errorf("%s: %w", file, err)
		}
		if img, err = stamp(img, p.Created); err != nil {
			return Published{}, fmt.Errorf("%s: %w", file, err)
		}
		images = append(images, archived{img, file})
	}
	content, err := join(images)
	if err != nil {
		return Published{}, err
	}
	hash, err := content.Digest()
	if err != nil {
		return Published{}, fmt.Errorf("%s: %w", ref, err)
	}
	return p.push(ctx, content, hash, ref, tags, false, o)
}

// PublishArtifact pushes an artifact, which is an image to a registry, under its tags as Publish does, and as it is:
// nothing is stamped.
func PublishArtifact(ctx context.Context, artifact v1.Image, ref string, p Publication, o Options) (Published, error) {
	parsed, err := Parse(ref, o)
	if err != nil {
		return Published{}, err
	}
	tags, err := p.tags(parsed)
	if err != nil {
		return Published{}, err
	}
	hash, err := artifact.Digest()
	if err != nil {
		return Published{}, fmt.Errorf("%s: %w", ref, err)
	}
	return p.push(ctx, artifact, hash, ref, tags, false, o)
}

// Fixed are those of some tags that name one image for good, and moving the others, see imageref.Moves.
func Fixed(tags []string) (fixed, moving []string) {
	for _, t := range tags {
		if imageref.Moves(t) {
			moving = append(moving, t)
		} else {
			fixed = append(fixed, t)
		}
	}
	return fixed, moving
}

// AddTags gives an image in its registry, named by its digest, the tags in p.AlsoTags, as Publish does.
func AddTags(ctx context.Context, ref string, p Publication, o Options) (Published, error) {
	parsed, err := Parse(ref, o)
	if err != nil {
		return Published{}, err
	}
	pinned, ok := parsed.(name.Digest)
	if !ok {
		return Published{}, fmt.Errorf("%w: %s may be another image tomorrow, write %s@sha256:…", ErrNoDigest, ref, ref)
	}
	var tags []name.Tag
	for _, t := range p.AlsoTags {
		if err := imageref.CheckTag(t); err != nil {
			return Published{}, err
		}
		tags = append(tags, pinned.Context().Tag(t))
	}
	descriptor, err := remote.Get(pinned, o.Remote(ctx)...)
	if err != nil {
		return Published{}, Explain(ref, err)
	}
	return p.push(ctx, descriptor, descriptor.Digest, ref, tags, true, o)
}

// push pushes an image, of one platform or of several, under its tags; uploaded says that the registry has it.
func (p Publication) push(ctx context.Context, content remote.Taggable, hash v1.Hash, ref string, tags []name.Tag, uploaded bool, o Options) (Published, error) {
	result := Published{Ref: ref, Digest: hash.String()}
	if p.Digest != "" && p.Digest != result.Digest {
		return Published{}, fmt.Errorf("%s: %w: it is %s, and %s is wanted; nothing was pushed", ref, ErrOther, result.Digest, p.Digest)
	}
	options := o.Remote(ctx)
	for _, tag := range tags {
		t, err := p.look(ctx, tag, hash, o)
		if err != nil {
			return Published{}, err
		}
		result.Tags = append(result.Tags, t)
	}
	if !uploaded && !slices.ContainsFunc(result.Tags, func(t Tag) bool { return t.Kept }) {
		// All of it, before a tag names it: that takes the time in which somebody else may take a tag.
		if err := remote.Push(tags[0].Context().Digest(result.Digest), content, options...); err != nil {
			return Published{}, ExplainPush(ref, err)
		}
	}
	for i, tag := range tags {
		if result.Tags[i].Kept {
			continue
		}
		now, err := p.look(ctx, tag, hash, o)
		if err != nil {
			return Published{}, err
		}
		if result.Tags[i] = now; now.Kept {
			continue
		}
		if err := remote.Put(tag, content, options...); err != nil {
			return Published{}, ExplainPush(tag.String(), err)
		}
		// No registry takes a tag on the condition that nobody else has it.
		if _, err := p.look(ctx, tag, hash, o); errors.Is(err, ErrTaken) {
			return Published{}, fmt.Errorf("somebody else has pushed at the same time: %w", err)
		}
	}
	return result, nil
}

// tags are the references to give the image; one by digest has no tag.
func (p Publication) tags(ref name.Reference) ([]name.Tag, error) {
	first, ok := ref.(name.Tag)
	if !ok {
		return nil, fmt.Errorf("%w %q: give it a tag to publish under", imageref.ErrReference, ref)
	}
	tags := []name.Tag{first}
	for _, t := range p.AlsoTags {
		if err := imageref.CheckTag(t); err != nil {
			return nil, err
		}
		if tag := first.Context().Tag(t); !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// look finds out what a tag is now, and refuses one that may not become the image.
func (p Publication) look(ctx context.Context, tag name.Tag, hash v1.Hash, o Options) (Tag, error) {
	now, err := remote.Head(tag, o.Remote(ctx)...)
	if denied(err) {
		// A registry that makes repositories as they are pushed to shows one that is yet to be made to nobody but who may
		// push there.
		now, err = o.headToPush(ctx, tag)
	}
	var answer *transport.Error
	switch {
	case err == nil:
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return Tag{Tag: tag.TagStr()}, nil
	case denied(err):
		return Tag{}, fmt.Errorf("whether the tag is another image's cannot be seen: %w", ExplainPush(tag.String(), err))
	default:
		return Tag{}, ExplainPush(tag.String(), err)
	}
	switch {
	case now.Digest == hash:
		return Tag{Tag: tag.TagStr(), Kept: true}, nil
	case !p.Retag && !imageref.Moves(tag.TagStr()):
		return Tag{}, fmt.Errorf("%s: %w, %s, and would become %s; nothing was pushed: publish under another tag, or with --retag", tag, ErrTaken, now.Digest, hash)
	}
	return Tag{Tag: tag.TagStr(), Former: now.Digest.String()}, nil
}

func denied(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// headToPush looks at a tag with a token that may push.
func (o Options) headToPush(ctx context.Context, tag name.Tag) (*v1.Descriptor, error) {
	auth, err := authn.Resolve(ctx, o.keychain(), tag.Context())
	if err != nil {
		return nil, err
	}
	signedIn, err := transport.NewWithContext(ctx, tag.Registry, auth, o.transport(), []string{tag.Scope(transport.PushScope)})
	if err != nil {
		return nil, err
	}
	return remote.Head(tag, remote.WithContext(ctx), remote.WithTransport(signedIn))
}

// ExplainPush says in one sentence why a registry did not take an image, and what to do.
func ExplainPush(ref string, err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return Explain(ref, err)
	}
	said := ""
	if len(answer.Errors) > 0 && answer.Errors[0].Message != "" {
		said = ": " + strings.Join(strings.Fields(answer.Errors[0].Message), " ")
	}
	what, do := error(nil), ""
	switch code := answer.StatusCode; code {
	case http.StatusUnauthorized:
		what, do = ErrUnauthorized, "sign in with --username and an access token that may write"
	case http.StatusForbidden:
		what, do = ErrUnauthorized, "the account or its access token may not write there; give it the permission to, or another name to the image"
	case http.StatusNotFound:
		what, do = ErrNotFound, "check the name, and make the repository first where the registry does not by itself"
	case http.StatusTooManyRequests:
		what, do = ErrLimited, "wait, or sign in as an account with a higher limit, and publish again: it goes on from here"
	default:
		return Explain(ref, err)
	}
	return fmt.Errorf("%s: %w: %s (it answers %d%s)", ref, what, do, answer.StatusCode, said)
}

// readArchive unpacks the archive into dir, which it makes; its layers are read from there.
func readArchive(archive, dir string) (v1.Image, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
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

// madeBy is what made a layer, in the history of an image. What the builder says of it changes: an engine that was
// restarted calls a layer of its cache "rehydrated persisted snapshot".
const madeBy = "backstage-gitops"

// stamp gives the image and all of its history one time, and its manifest the annotations that are labels so far.
func stamp(img v1.Image, created time.Time) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: created.UTC()}
	config.History = slices.Repeat([]v1.History{{Created: config.Created, CreatedBy: madeBy}}, len(config.RootFS.DiffIDs))
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	for name, value := range config.Config.Labels {
		if strings.HasPrefix(name, predefined) {
			annotations[name] = value
		}
	}
	return mutate.Annotations(img, annotations).(v1.Image), nil
}

// predefined is what the names of the annotations begin with that the OCI image specification defines, annotations.md.
// Builders give them as labels, which are in the configuration; registries show those of the manifest.
const predefined = "org.opencontainers.image."
