package image

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// MayPush finds out whether a registry takes a push to a repository, named without a tag, before there is anything to
// push: an upload is begun and given up. A registry that fails or limits requests is asked again a few times.
func MayPush(ctx context.Context, repository string, o Options) error {
	if _, err := imageref.ParseName(repository); err != nil {
		return err
	}
	parsed, err := Parse(repository, o)
	if err != nil {
		return err
	}
	if err := remote.CheckPushPermission(parsed, o.keychain(), within{ctx, o.transport()}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return ExplainPush(repository, err)
	}
	return nil
}

// within has requests end with a context, which CheckPushPermission does not take.
type within struct {
	ctx  context.Context
	next http.RoundTripper
}

func (w within) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.next.RoundTrip(r.WithContext(w.ctx))
}

// keychain is what signs in to the registry.
func (o Options) keychain() authn.Keychain {
	if o.Username == "" {
		return authn.DefaultKeychain
	}
	return account{&authn.Basic{Username: o.Username, Password: o.Password}}
}

// account signs in to whatever registry it is.
type account struct{ authn.Authenticator }

func (a account) Resolve(authn.Resource) (authn.Authenticator, error) { return a.Authenticator, nil }
