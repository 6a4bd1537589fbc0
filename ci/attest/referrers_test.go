package attest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// raw is a manifest as it is.
type raw struct {
	text      []byte
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.text, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }

func sum(t *testing.T, text []byte) (digest string) {
	t.Helper()
	hash, _, err := v1.SHA256(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

// refer attaches a manifest as anybody can who may write to the registry, and returns its digest.
func refer(t *testing.T, i *attest.Image, mediaType types.MediaType, manifest map[string]any) string {
	t.Helper()
	on, err := name.NewDigest(i.Reached())
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(on)
	if err != nil {
		t.Fatal(err)
	}
	manifest["schemaVersion"], manifest["mediaType"], manifest["subject"] = 2, mediaType, subject
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	digest := sum(t, text)
	if err := remote.Put(on.Context().Digest(digest), raw{text, mediaType}); err != nil {
		t.Fatal(err)
	}
	return digest
}

// layered is the manifest of an artifact with one layer.
func layered(kind, digest string, size int64) map[string]any {
	return map[string]any{
		"artifactType": kind,
		"config":       map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + strings.Repeat("4", 64), "size": 2},
		"layers":       []any{map[string]any{"mediaType": kind, "digest": digest, "size": size}},
		"annotations":  map[string]string{"dev.sigstore.bundle.predicateType": attest.SPDX},
	}
}

// TestBundlesBesideOfNoUse: whatever else is attached to an image, by whomever, what is good is found, what is not ours is
// left out, and what is of no use is named.
func TestBundlesBesideOfNoUse(t *testing.T) {
	t.Parallel()
	for what, referrers := range map[string]bool{"referrers API": true, "tags": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var answers sync.Map
			host := serve(t, referrers, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if answer, ok := answers.Load(path.Base(r.URL.Path)); ok && r.Method == http.MethodGet {
						answer.(func(http.ResponseWriter))(w)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			i := publish(t, host)
			s := signer(t, keys(t))
			const nowhere = "sha256:5555555555555555555555555555555555555555555555555555555555555555"

			refer(t, i, types.OCIImageIndex, map[string]any{"manifests": []any{}})
			refer(t, i, types.OCIManifestSchema1, layered("application/vnd.example.report", nowhere, 1))
			gone := refer(t, i, types.OCIManifestSchema1, layered(bundleType, nowhere, 11))
			large := refer(t, i, types.OCIManifestSchema1, layered(bundleType, nowhere, 40<<20))
			endless := refer(t, i, types.OCIManifestSchema1, layered(bundleType, "sha256:"+strings.Repeat("6", 64), -1))
			lost := refer(t, i, types.OCIManifestSchema1, layered(bundleType, nowhere, 12))
			garbled := refer(t, i, types.OCIManifestSchema1, layered(bundleType, nowhere, 13))
			attached, err := i.Attach(t.Context(), s, i.Statement(attest.SPDX, []byte(`{}`)), i.Statement(attest.Signature, []byte(`{}`)))
			if err != nil {
				t.Fatal(err)
			}
			answers.Store("sha256:"+strings.Repeat("6", 64), func(w http.ResponseWriter) {
				for zeros := make([]byte, 1<<20); ; {
					if _, err := w.Write(zeros); err != nil {
						return
					}
				}
			})
			answers.Store(lost, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) })
			answers.Store(garbled, func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
				_, _ = io.WriteString(w, `{"schemaVersion":2}`)
			})

			want := map[string]error{
				attached[0].Digest: nil, attached[1].Digest: nil,
				gone: attest.ErrBroken, large: attest.ErrTooLarge, endless: attest.ErrTooLarge, lost: attest.ErrBroken, garbled: attest.ErrTampered,
			}
			for _, b := range bundles(t, i) {
				reason, known := want[b.Digest]
				delete(want, b.Digest)
				if _, err := b.Read(s.Verifier, i); !known || !errors.Is(err, reason) {
					t.Errorf("%s: got %v, want %v, known: %t", b.Digest, err, reason, known)
				}
			}
			if len(want) > 0 {
				t.Errorf("not found: %v", want)
			}
			again, err := i.Attach(t.Context(), s, i.Statement(attest.SPDX, []byte(`{}`)))
			if err != nil || !again[0].Kept {
				t.Errorf("again: %v, %v", again, err)
			}
		})
	}
}

// TestBundlesOfAFailingRegistry: what ails the registry as a whole is an error, and not a missing bundle.
func TestBundlesOfAFailingRegistry(t *testing.T) {
	t.Parallel()
	var status sync.Map
	host := serve(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if code, ok := status.Load(path.Base(r.URL.Path)); ok {
				w.WriteHeader(code.(int))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	i := publish(t, host)
	attached, err := i.Attach(t.Context(), signer(t, keys(t)), i.Statement(attest.Signature, []byte(`{}`)))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		status.Store(attached[0].Digest, code)
		if found, err := i.Bundles(t.Context()); err == nil {
			t.Errorf("%d: got %v", code, found)
		}
	}
}

// TestAttachTooLarge: what nobody would read is not attached.
func TestAttachTooLarge(t *testing.T) {
	t.Parallel()
	i := publish(t, serve(t, true))
	large := []byte(`"` + strings.Repeat("a", 33<<20) + `"`)
	if _, err := i.Attach(t.Context(), signer(t, keys(t)), i.Statement(attest.SPDX, large)); !errors.Is(err, attest.ErrTooLarge) || !strings.Contains(err.Error(), "attach the SPDX SBOM") {
		t.Errorf("got %v", err)
	}
	if found := bundles(t, i); len(found) > 0 {
		t.Errorf("%d were attached", len(found))
	}
}

// TestAttachUnsigned: the digests are those of what was attached, and not of what others have attached of the same kind.
func TestAttachUnsigned(t *testing.T) {
	t.Parallel()
	for what, referrers := range map[string]bool{"referrers API": true, "tags": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := publish(t, serve(t, referrers))
			var others []string
			for n := range 8 {
				for _, kind := range []string{"application/spdx+json", "application/vnd.cyclonedx+json"} {
					others = append(others, refer(t, i, types.OCIManifestSchema1, layered(kind, "sha256:"+strings.Repeat("7", 64), int64(n))))
				}
			}
			statements := []attest.Statement{i.Statement(attest.SPDX, []byte(`{"a":1}`)), i.Statement(attest.CycloneDX, []byte(`{"b":2}`))}
			first, err := i.AttachUnsigned(t.Context(), statements...)
			if err != nil {
				t.Fatal(err)
			}
			again, err := i.AttachUnsigned(t.Context(), statements...)
			if err != nil || !slices.Equal(first, again) {
				t.Errorf("again %v after %v, %v", again, first, err)
			}
			for n, a := range first {
				if slices.Contains(others, a.Digest) {
					t.Errorf("%s is another's", a.Digest)
				}
				on, err := name.NewDigest(i.Reached())
				if err != nil {
					t.Fatal(err)
				}
				content, err := remote.Image(on.Context().Digest(a.Digest))
				if err != nil {
					t.Fatal(err)
				}
				manifest, err := content.Manifest()
				if err != nil {
					t.Fatal(err)
				}
				if got := manifest.Layers[0].Digest.String(); got != sum(t, statements[n].Predicate) || a.PredicateType != statements[n].PredicateType {
					t.Errorf("%+v holds %s", a, got)
				}
			}
		})
	}
}

// TestTooManyReferrers: what anybody can attach without end is not read without end, and is no missing signature either.
func TestTooManyReferrers(t *testing.T) {
	t.Parallel()
	var read atomic.Int32
	i := publish(t, serve(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
				read.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}))
	s := signer(t, keys(t))
	statement := i.Statement(attest.Signature, []byte("{}"))
	if _, err := i.Attach(t.Context(), s, statement); err != nil {
		t.Fatal(err)
	}
	const limit = 256
	for n := range limit - 1 {
		refer(t, i, types.OCIManifestSchema1, layered("application/vnd.example.report", "sha256:"+strings.Repeat("7", 64), int64(n)))
	}
	if found := bundles(t, i); len(found) != 1 {
		t.Errorf("beside %d others %d bundles are found, want one", limit-1, len(found))
	}
	refer(t, i, types.OCIManifestSchema1, layered("application/vnd.example.report", "sha256:"+strings.Repeat("7", 64), limit))
	read.Store(0)
	if _, err := i.Bundles(t.Context()); !errors.Is(err, attest.ErrTooMany) || !strings.HasPrefix(err.Error(), i.Ref()) || read.Load() != 0 {
		t.Errorf("got %v, after %d manifests were read", err, read.Load())
	}
	if _, err := i.Attach(t.Context(), s, statement); !errors.Is(err, attest.ErrTooMany) {
		t.Errorf("attach: got %v", err)
	}
	if _, err := i.AttachUnsigned(t.Context(), i.Statement(attest.SPDX, []byte("{}"))); !errors.Is(err, attest.ErrTooMany) {
		t.Errorf("attach unsigned: got %v", err)
	}
}
