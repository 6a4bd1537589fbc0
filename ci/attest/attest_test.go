package attest_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v3/pkg/cosign"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

const password = "correct horse"

var plain = image.Options{PlainHTTP: true}

// keys are a key pair as cosign makes it.
func keys(t *testing.T) *cosign.KeysBytes {
	t.Helper()
	private, public, err := attest.GenerateKey([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return &cosign.KeysBytes{PrivateBytes: private, PublicBytes: public}
}

func signer(t *testing.T, made *cosign.KeysBytes) *attest.Signer {
	t.Helper()
	s, err := attest.OpenKey(made.PrivateBytes, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve is a registry, with the referrers API or without it.
func serve(t *testing.T, referrers bool, wrap ...func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	for _, w := range wrap {
		h = w(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// publish puts an image like no other into a registry.
func publish(t *testing.T, host string) *attest.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	return push(t, host+"/app", img)
}

func push(t *testing.T, repository string, img v1.Image) *attest.Image {
	t.Helper()
	tag, err := name.NewTag(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := attest.Open(t.Context(), repository+"@"+digest.String(), "example.com/app", plain)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func bundles(t *testing.T, i *attest.Image) []attest.Bundle {
	t.Helper()
	found, err := i.Bundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestAttach: what is attached is what cosign finds and verifies; a second time changes nothing; an interrupted call
// goes on. All of it in a registry with the referrers API and in one that has only tags.
func TestAttach(t *testing.T) {
	t.Parallel()
	for what, referrers := range map[string]bool{"referrers API": true, "tags": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var broken atomic.Bool
			var written atomic.Int32
			host := serve(t, referrers, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") && written.Add(1) > 1 && broken.Load() {
						w.WriteHeader(http.StatusForbidden)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			i := publish(t, host)
			made := keys(t)
			s := signer(t, made)
			statements := []attest.Statement{i.Statement(attest.Signature, []byte("{}")), i.Statement(attest.SPDX, []byte(`{"a":"<b>"}`))}

			broken.Store(true)
			if _, err := i.Attach(t.Context(), s, statements...); !errors.Is(err, image.ErrUnauthorized) || !strings.Contains(err.Error(), "attach the SPDX SBOM") {
				t.Fatalf("a registry that takes one alone: %v", err)
			}
			broken.Store(false)
			first, err := i.Attach(t.Context(), s, statements...)
			if err != nil {
				t.Fatal(err)
			}
			if len(first) != 2 || !first[0].Kept || first[1].Kept {
				t.Errorf("it went on with %+v; want the first one kept", first)
			}
			before := written.Load()
			again, err := i.Attach(t.Context(), s, statements...)
			if err != nil {
				t.Fatal(err)
			}
			if again[0].Digest != first[0].Digest || again[1].Digest != first[1].Digest || !again[1].Kept || written.Load() != before {
				t.Errorf("again: %+v after %+v, %d manifests written", again, first, written.Load()-before)
			}
			if n := len(bundles(t, i)); n != 2 {
				t.Errorf("%d bundles; want 2", n)
			}

			// By cosign's own call, as `cosign verify --key` makes it.
			ref, err := name.NewDigest(host + "/app@" + i.Digest())
			if err != nil {
				t.Fatal(err)
			}
			key, err := cosign.LoadPrivateKey(made.PrivateBytes, []byte(password), nil)
			if err != nil {
				t.Fatal(err)
			}
			verified, _, err := cosign.VerifyImageAttestations(t.Context(), ref, &cosign.CheckOpts{
				NewBundleFormat: true, IgnoreTlog: true, SigVerifier: key, ClaimVerifier: cosign.IntotoSubjectClaimVerifier,
			})
			if err != nil || len(verified) != 2 {
				t.Errorf("cosign verifies %d of 2: %v", len(verified), err)
			}
		})
	}
}

// TestAttachBesideOthers: another key's statements stay, and do not count as one's own.
func TestAttachBesideOthers(t *testing.T) {
	t.Parallel()
	i := publish(t, serve(t, true))
	mine, theirs := signer(t, keys(t)), signer(t, keys(t))
	for _, s := range []*attest.Signer{theirs, mine} {
		attached, err := i.Attach(t.Context(), s, i.Statement(attest.Signature, []byte("{}")))
		if err != nil || attached[0].Kept {
			t.Fatalf("%+v, %v", attached, err)
		}
	}
	all := bundles(t, i)
	count := func(s *attest.Signer) (n int) {
		for _, b := range all {
			if _, err := b.Read(s.Verifier, i); err == nil {
				n++
			} else if !errors.Is(err, attest.ErrOtherKey) {
				t.Error(err)
			}
		}
		return n
	}
	if len(all) != 2 || count(mine) != 1 || count(theirs) != 1 {
		t.Errorf("%d bundles, %d mine, %d theirs", len(all), count(mine), count(theirs))
	}
}

// TestVerifyRefuses: by name of what is wrong.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	i, other := publish(t, serve(t, true)), publish(t, serve(t, true))
	s := signer(t, keys(t))
	bundle := func(statement attest.Statement) []byte {
		text, err := s.Sign(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := bundle(i.Statement(attest.SPDX, []byte(`{"name":"aaaa"}`)))
	forged := bundle(i.Statement(attest.SPDX, []byte(`{"name":"bbbb"}`)))
	// Another's content under this one's signature.
	swapped := swap(t, forged, good)
	for what, c := range map[string]struct {
		text []byte
		key  *attest.Signer
		want error
	}{
		"as signed":      {good, s, nil},
		"another key":    {good, signer(t, keys(t)), attest.ErrOtherKey},
		"another text":   {swapped, s, attest.ErrTampered},
		"another image":  {bundle(other.Statement(attest.SPDX, []byte(`{}`))), s, attest.ErrOtherImage},
		"nothing at all": {nil, s, attest.ErrBroken},
		"no bundle":      {[]byte(`{"mediaType":"x"}`), s, attest.ErrBroken},
		"half a bundle":  {good[:len(good)/2], s, attest.ErrBroken},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := attest.Bundle{Text: c.text}.Read(c.key.Verifier, i)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// swap puts the signature of one bundle under the content of another.
func swap(t *testing.T, content, signature []byte) []byte {
	t.Helper()
	cut := func(text []byte) (before, sig, after []byte) {
		mark := []byte(`"sig":`)
		at := bytes.Index(text, mark)
		if at < 0 {
			t.Fatalf("no signature in %s", text)
		}
		start := at + len(mark) + bytes.IndexByte(text[at+len(mark):], '"') + 1
		end := start + bytes.IndexByte(text[start:], '"')
		return text[:start], text[start:end], text[end:]
	}
	before, _, after := cut(content)
	_, sig, _ := cut(signature)
	return slices.Concat(before, sig, after)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	lost := ""
	host := serve(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lost != "" && strings.HasSuffix(r.URL.Path, lost) {
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				_, _ = io.WriteString(w, `{"schemaVersion":2}`)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	i := publish(t, host)
	for ref, want := range map[string]error{
		host + "/app:1":               image.ErrNoDigest,
		host + "/no@" + i.Digest():    image.ErrNotFound,
		"localhost:1/a@" + i.Digest(): image.ErrUnreachable,
	} {
		if _, err := attest.Open(t.Context(), ref, "", plain); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", ref, err, want)
		}
	}

	// A registry that gives another content under the digest of a layer, and of the manifest.
	layers, err := i.Content.Layers()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Check(); err != nil {
		t.Fatal(err)
	}
	lost = hash.String()
	if err := i.Check(); !errors.Is(err, attest.ErrChanged) {
		t.Errorf("a changed layer: %v", err)
	}
	lost = i.Digest()
	if _, err := attest.Open(t.Context(), host+"/app@"+i.Digest(), "", plain); !errors.Is(err, attest.ErrChanged) {
		t.Errorf("a changed manifest: %v", err)
	}
}

func TestOpenKeyRefuses(t *testing.T) {
	t.Parallel()
	made := keys(t)
	for what, c := range map[string]struct {
		key, password string
		want          error
	}{
		"another password": {string(made.PrivateBytes), "wrong", attest.ErrPassword},
		"no password":      {string(made.PrivateBytes), "", attest.ErrPassword},
		"a public key":     {string(made.PublicBytes), password, attest.ErrKey},
		"no key":           {"", password, attest.ErrKey},
	} {
		_, err := attest.OpenKey([]byte(c.key), []byte(c.password))
		if !errors.Is(err, c.want) || c.password != "" && strings.Contains(err.Error(), c.password) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
	if _, err := attest.NewVerifier(made.PrivateBytes); !errors.Is(err, attest.ErrKey) {
		t.Errorf("a private key for a public one: %v", err)
	}
}

// TestKeyService: a service signs, its key stays where it is, and another process verifies.
func TestKeyService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := keyserver.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(h)
	t.Cleanup(service.Close)
	s, err := attest.OpenService(t.Context(), service.URL)
	if err != nil {
		t.Fatal(err)
	}
	i := publish(t, serve(t, true))
	if _, err := i.Attach(t.Context(), s, i.Statement(attest.Signature, []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	again, err := attest.OpenService(t.Context(), service.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundles(t, i)[0].Read(again.Verifier, i); err != nil {
		t.Error(err)
	}
	service.Close()
	if _, err := s.Sign(t.Context(), i.Statement(attest.Signature, []byte("{}"))); !errors.Is(err, attest.ErrKey) {
		t.Errorf("without the service: %v", err)
	}
	if _, err := attest.OpenService(t.Context(), service.URL); !errors.Is(err, attest.ErrKey) {
		t.Errorf("without the service: %v", err)
	}
}

// TestKeylessWantsAJob: outside of GitHub Actions there is no identity, and the error says what to do.
func TestKeylessWantsAJob(t *testing.T) {
	for _, name := range []string{"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := attest.Keyless(t.Context()); !errors.Is(err, attest.ErrNoIdentity) {
		t.Errorf("got %v", err)
	}
}
