package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// Retagged is an image in its registry that was given tags of another one.
type Retagged struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	// Tags are those that it was given, with the digest that each was taken from.
	Tags []Tag `json:"tags"`
	// Left are tags that move, and stay with the other one: they do not suit this image.
	Left []string `json:"left"`
}

// Retag gives the image that ref names by its digest the tags that move and are those of the image from, as a rollback
// does: those that suit an image whose own tag is own, see imageref.Suits. Any other tag stays as it is. A second call
// finds nothing to do, and one that was interrupted goes on.
func Retag(ctx context.Context, ref, from, own string, o Options) (Retagged, error) {
	parsed, err := Parse(ref, o)
	if err != nil {
		return Retagged{}, err
	}
	pinned, ok := parsed.(name.Digest)
	if !ok {
		return Retagged{}, fmt.Errorf("%w: %s may be another image tomorrow, write %s@sha256:…", ErrNoDigest, ref, ref)
	}
	if err := errors.Join(imageref.CheckDigest(from), imageref.CheckTag(own)); err != nil {
		return Retagged{}, err
	}
	result := Retagged{Ref: ref, Digest: pinned.DigestStr(), Tags: []Tag{}, Left: []string{}}
	if from == result.Digest {
		return result, nil
	}
	options := o.Remote(ctx)
	of, err := tagsOf(pinned.Context(), from, options)
	if err != nil {
		return Retagged{}, err
	}
	for _, tag := range of {
		if imageref.Suits(tag, own) {
			result.Tags = append(result.Tags, Tag{Tag: tag, Former: from})
		} else {
			result.Left = append(result.Left, tag)
		}
	}
	if len(result.Tags) == 0 {
		return result, nil
	}
	descriptor, err := remote.Get(pinned, options...)
	if err != nil {
		return Retagged{}, gone(ref, err)
	}
	for _, t := range result.Tags {
		tag := pinned.Context().Tag(t.Tag)
		if err := remote.Put(tag, descriptor, options...); err != nil {
			return Retagged{}, ExplainPush(tag.String(), err)
		}
	}
	return result, nil
}

// tagsOf are the tags that move and are those of an image now, sorted.
func tagsOf(repository name.Repository, digest string, options []remote.Option) ([]string, error) {
	all, err := remote.List(repository, options...)
	if err != nil {
		return nil, Explain(repository.Name(), err)
	}
	slices.Sort(all)
	var found []string
	for _, tag := range all {
		if !imageref.Moves(tag) {
			continue
		}
		now, err := remote.Head(repository.Tag(tag), options...)
		var answer *transport.Error
		switch {
		case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
			// Removed since.
		case err != nil:
			return nil, Explain(repository.Tag(tag).Name(), err)
		case now.Digest.String() == digest:
			found = append(found, tag)
		}
	}
	return found, nil
}
