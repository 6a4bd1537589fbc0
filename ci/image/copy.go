package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// ErrNoDigest says that an image is named without its digest.
var ErrNoDigest = errors.New("name the image by its digest")

// Copy copies the image that from names by its digest to another registry or name, for a rollback to run it there. A
// list of platforms is copied whole, manifests byte for byte, and blobs that are there already are not sent again. To
// may have a tag. It returns what the copy is called and its digest, which is that of from.
func Copy(ctx context.Context, from, to string, read, write Options) (ref, digest string, err error) {
	source, err := Parse(from, read)
	if err != nil {
		return "", "", err
	}
	pinned, ok := source.(name.Digest)
	if !ok {
		return "", "", fmt.Errorf("%w: %s may be another image tomorrow, write %s@sha256:…", ErrNoDigest, from, from)
	}
	digest = pinned.DigestStr()
	named, err := imageref.Parse(to)
	switch {
	case err != nil:
		return "", "", err
	case named.Digest != "" && named.Digest != digest:
		return "", "", fmt.Errorf("%w %q: a copy of %s has the same digest", imageref.ErrReference, to, from)
	case named.Tag == "" && named.Digest == "":
		to += "@" + digest
	}
	target, err := Parse(to, write)
	if err != nil {
		return "", "", err
	}
	descriptor, err := remote.Get(pinned, read.Remote(ctx)...)
	if err != nil {
		return "", "", gone(from, err)
	}
	if err := remote.Push(target, descriptor, write.Remote(ctx)...); err != nil {
		if concerns(pinned.Context(), err) && source.Context() != target.Context() {
			return "", "", gone(from, err)
		}
		return "", "", Explain(to, err)
	}
	return to, digest, nil
}

// gone says of an image that its registry has no more what that means.
func gone(ref string, err error) error {
	if err = Explain(ref, err); errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w any more, and a rollback needs it; push it there again, or release a fix instead", err)
	}
	return err
}

// concerns says whether it was this repository that answered with the error: layers are read while they are written.
func concerns(r name.Repository, err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.Request != nil && answer.Request.URL.Host == r.RegistryStr() &&
		strings.HasPrefix(answer.Request.URL.Path, "/v2/"+r.RepositoryStr()+"/")
}
