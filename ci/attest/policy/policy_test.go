package policy_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

const revision = "0123456789abcdef0123456789abcdef01234567"

var origin = provenance.Facts{Repository: "https://github.com/acme/portal", Revision: revision, Builder: "https://github.com/acme/portal/builder"}

func signer(t *testing.T) *attest.Signer {
	t.Helper()
	h, err := keyserver.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(h)
	t.Cleanup(service.Close)
	s, err := attest.OpenService(t.Context(), service.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// build makes an image with npm packages and a label.
func build(t *testing.T, platform, labelled string, packages ...string) v1.Image {
	t.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, one := range packages {
		name, version, _ := strings.Cut(one, "@")
		manifest := `{"name":"` + name + `","version":"` + version + `"}`
		if err := w.WriteHeader(&tar.Header{Name: "app/node_modules/" + name + "/package.json", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(manifest))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(manifest)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	os, architecture, _ := strings.Cut(platform, "/")
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: os, Architecture: architecture, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: map[string]string{"org.opencontainers.image.revision": labelled}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		t.Fatal(err)
	}
	return img
}

// published is an image, or a list of images.
type published interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

// push puts an image into a registry of its own, and returns how to reach it there.
func push(t *testing.T, img published) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	tag, err := name.NewTag(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return host + "/app@" + digest.String()
}

func open(t *testing.T, ref string) *attest.Image {
	t.Helper()
	opened, err := attest.Open(t.Context(), ref, "example.com/app", image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// publish puts an image with one npm package and a label into a registry of its own.
func publish(t *testing.T, version string) *attest.Image {
	t.Helper()
	return open(t, push(t, build(t, "linux/amd64", revision, "express@"+version)))
}

var listed struct {
	sync.Mutex
	byDigest map[string]*sbom.Documents
}

// list makes the SBOM of an image, once for all tests: the same image is called the same in all of their registries.
func list(t *testing.T, i *attest.Image) *sbom.Documents {
	t.Helper()
	listed.Lock()
	defer listed.Unlock()
	if d := listed.byDigest[i.Digest()]; d != nil {
		return d
	}
	d, err := sbom.Make(t.Context(), sbom.Image{Name: i.Name, Digest: i.Digest(), Created: i.Created, Content: i.Content})
	if err != nil {
		t.Fatal(err)
	}
	if listed.byDigest == nil {
		listed.byDigest = map[string]*sbom.Documents{}
	}
	listed.byDigest[i.Digest()] = d
	return d
}

// statements are all that a release says of its image.
func statements(t *testing.T, i *attest.Image, from provenance.Facts) map[string]attest.Statement {
	t.Helper()
	documents := list(t, i)
	made, err := from.Make()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]attest.Statement{}
	for kind, predicate := range map[string][]byte{attest.Signature: []byte("{}"), attest.Provenance: made, attest.SPDX: documents.SPDX, attest.CycloneDX: documents.CycloneDX} {
		all[kind] = i.Statement(kind, predicate)
	}
	return all
}

func attach(t *testing.T, i *attest.Image, s *attest.Signer, all map[string]attest.Statement) {
	t.Helper()
	for _, statement := range all {
		if _, err := i.Attach(t.Context(), s, statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	i, s := publish(t, "4.22.1"), signer(t)
	// What others attach does not count, and does not disturb.
	attach(t, i, signer(t), statements(t, i, provenance.Facts{Repository: "https://evil.example", Revision: strings.Repeat("f", 40), Builder: "x"}))
	// What is of no use is named, and disturbs no more.
	put(t, i, []byte("no bundle"), attest.Provenance)
	all := statements(t, i, origin)
	bundle, err := s.Sign(t.Context(), all[attest.SPDX])
	if err != nil {
		t.Fatal(err)
	}
	put(t, i, tamper(t, bundle), attest.SPDX)
	attach(t, i, s, all)
	v, err := policy.Policy{Origin: origin}.Verify(t.Context(), i, s.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, u := range v.Unusable {
		reasons[u.PredicateType] = u.Reason
	}
	if len(v.Unusable) != 2 || !strings.Contains(reasons[attest.Provenance], attest.ErrBroken.Error()) || !strings.Contains(reasons[attest.SPDX], attest.ErrTampered.Error()) {
		t.Errorf("of no use are %+v", v.Unusable)
	}
	if v.Packages != 1 || v.Origin.Revision != revision || v.Origin.Repository != origin.Repository || len(v.Attached) != 4 || v.SignedBy != s.Verifier.Signer() || v.Image != i.Ref() {
		t.Errorf("%+v", v)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	elsewhere := publish(t, "4.0.0")
	another := func(change func(*provenance.Facts)) func(*testing.T, *attest.Image, *attest.Signer, map[string]attest.Statement) {
		return func(t *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			from := origin
			change(&from)
			all[attest.Provenance] = statements(t, i, from)[attest.Provenance]
		}
	}
	for what, c := range map[string]struct {
		// change changes what is attached.
		change func(*testing.T, *attest.Image, *attest.Signer, map[string]attest.Statement)
		want   error
		text   string
	}{
		"unsigned": {func(_ *testing.T, _ *attest.Image, _ *attest.Signer, all map[string]attest.Statement) { clear(all) }, policy.ErrUnsigned, "release it again with a signing key"},
		"signed by another key": {func(t *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			attach(t, i, signer(t), all)
			clear(all)
		}, attest.ErrOtherKey, "its signature is refused"},
		"no signature": {func(_ *testing.T, _ *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			delete(all, attest.Signature)
		}, policy.ErrMissing, "its signature is missing"},
		"no SBOM": {func(_ *testing.T, _ *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			delete(all, attest.SPDX)
		}, policy.ErrMissing, "its SPDX SBOM is missing"},
		"no CycloneDX SBOM": {func(_ *testing.T, _ *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			delete(all, attest.CycloneDX)
		}, policy.ErrMissing, "its CycloneDX SBOM is missing"},
		"no provenance": {func(_ *testing.T, _ *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			delete(all, attest.Provenance)
		}, policy.ErrMissing, "its provenance is missing"},
		"no provenance, and something of no use": {func(t *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			put(t, i, []byte("no bundle"), "")
			delete(all, attest.Provenance)
		}, policy.ErrMissing, "beside it is of no use: no Sigstore bundle"},
		"another key's provenance, and a tampered one": {func(t *testing.T, i *attest.Image, s *attest.Signer, all map[string]attest.Statement) {
			attach(t, i, signer(t), map[string]attest.Statement{attest.Provenance: all[attest.Provenance]})
			bundle, err := s.Sign(t.Context(), all[attest.Provenance])
			if err != nil {
				t.Fatal(err)
			}
			put(t, i, tamper(t, bundle), attest.Provenance)
			delete(all, attest.Provenance)
		}, attest.ErrTampered, "its provenance is refused"},
		"another commit":     {another(func(f *provenance.Facts) { f.Revision = strings.Repeat("f", 40) }), provenance.ErrRevision, "not " + revision},
		"another repository": {another(func(f *provenance.Facts) { f.Repository = "https://github.com/evil/portal" }), provenance.ErrSource, "its provenance is refused"},
		"another builder":    {another(func(f *provenance.Facts) { f.Builder = "https://evil.example" }), provenance.ErrBuilder, ""},
		"another builder, and others signed too": {func(t *testing.T, i *attest.Image, s *attest.Signer, all map[string]attest.Statement) {
			attach(t, i, signer(t), all)
			another(func(f *provenance.Facts) { f.Builder = "https://evil.example" })(t, i, s, all)
			attach(t, i, s, all)
			attach(t, i, signer(t), all)
		}, provenance.ErrBuilder, "its provenance is refused"},
		"no provenance at all": {func(_ *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			all[attest.Provenance] = i.Statement(attest.Provenance, []byte("{}"))
		}, provenance.ErrBroken, ""},
		"an SBOM of another image": {func(t *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			all[attest.SPDX] = i.Statement(attest.SPDX, statements(t, elsewhere, origin)[attest.SPDX].Predicate)
		}, sbom.ErrOther, "its SPDX SBOM is refused"},
		"a CycloneDX SBOM of another image": {func(t *testing.T, i *attest.Image, _ *attest.Signer, all map[string]attest.Statement) {
			all[attest.CycloneDX] = i.Statement(attest.CycloneDX, statements(t, elsewhere, origin)[attest.CycloneDX].Predicate)
		}, sbom.ErrOther, "its CycloneDX SBOM is refused"},
		"a statement on another image": {func(t *testing.T, i *attest.Image, s *attest.Signer, all map[string]attest.Statement) {
			bundle, err := s.Sign(t.Context(), elsewhere.Statement(attest.Provenance, all[attest.Provenance].Predicate))
			if err != nil {
				t.Fatal(err)
			}
			put(t, i, bundle, attest.Provenance)
			delete(all, attest.Provenance)
		}, attest.ErrOtherImage, "its provenance is refused"},
		"a tampered provenance": {func(t *testing.T, i *attest.Image, s *attest.Signer, all map[string]attest.Statement) {
			bundle, err := s.Sign(t.Context(), all[attest.Provenance])
			if err != nil {
				t.Fatal(err)
			}
			put(t, i, tamper(t, bundle), attest.Provenance)
			delete(all, attest.Provenance)
		}, attest.ErrTampered, "its provenance is refused"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i, s := publish(t, "4.22.1"), signer(t)
			all := statements(t, i, origin)
			c.change(t, i, s, all)
			attach(t, i, s, all)
			_, err := policy.Policy{Origin: origin}.Verify(t.Context(), i, s.Verifier)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), i.Ref()) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// TestVerifyComparesWithTheLabel: without a wanted commit it is the one that the image itself names.
func TestVerifyComparesWithTheLabel(t *testing.T) {
	t.Parallel()
	i, s := publish(t, "4.22.1"), signer(t)
	from := origin
	from.Revision = strings.Repeat("f", 40)
	attach(t, i, s, statements(t, i, from))
	if _, err := (policy.Policy{}).Verify(t.Context(), i, s.Verifier); !errors.Is(err, provenance.ErrRevision) {
		t.Errorf("got %v", err)
	}
}

// tamper changes a bundle's content under its signature.
func tamper(t *testing.T, bundle []byte) []byte {
	t.Helper()
	mark := []byte(`"payload":`)
	at := bytes.Index(bundle, mark)
	if at < 0 {
		t.Fatal("no payload")
	}
	at += len(mark) + bytes.IndexByte(bundle[at+len(mark):], '"') + 1
	changed := bytes.Clone(bundle)
	// Inside of the first text of the statement, so that it stays one.
	if changed[at+16] ^= 1; bytes.Equal(changed, bundle) {
		t.Fatal("nothing changed")
	}
	return changed
}

// put attaches a bundle as anybody can who may write to the registry.
func put(t *testing.T, i *attest.Image, bundle []byte, kind string) {
	t.Helper()
	subject, err := name.NewDigest(i.Reached())
	if err != nil {
		t.Fatal(err)
	}
	on, err := remote.Head(subject)
	if err != nil {
		t.Fatal(err)
	}
	const mediaType = types.MediaType("application/vnd.dev.sigstore.bundle.v0.3+json")
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mediaType)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(bundle, mediaType)}); err != nil {
		t.Fatal(err)
	}
	referrer, ok := mutate.Subject(mutate.Annotations(img, map[string]string{"dev.sigstore.bundle.predicateType": kind}), *on).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	digest, err := referrer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(subject.Context().Digest(digest.String()), referrer); err != nil {
		t.Fatal(err)
	}
}
