package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// index is a list of images.
func index(of ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), of...)
}

// on is an image in a list, for a platform; for none it is left to the image to say which.
func on(img mutate.Appendable, platform string) mutate.IndexAddendum {
	if platform == "" {
		return mutate.IndexAddendum{Add: img}
	}
	os, architecture, _ := strings.Cut(platform, "/")
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: architecture}}}
}

// several publishes an image of two platforms, with different packages.
func several(t *testing.T) *attest.Image {
	t.Helper()
	said, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, push(t, index(
		on(build(t, "linux/amd64", revision, "express@4.22.1"), "linux/amd64"),
		on(build(t, "linux/arm64", revision, "express@4.22.1", "ms@2.1.3"), ""),
		// As BuildKit adds it.
		on(said, "unknown/unknown"),
	)))
}

// all are the statements of a release of an image of several platforms: those on each of them, and the two on all.
func all(t *testing.T, i *attest.Image) map[*attest.Image]map[string]attest.Statement {
	t.Helper()
	made, err := origin.Make()
	if err != nil {
		t.Fatal(err)
	}
	statements := map[*attest.Image]map[string]attest.Statement{i: {
		attest.Provenance: i.Statement(attest.Provenance, made),
		attest.Signature:  i.Statement(attest.Signature, []byte("{}")),
	}}
	for _, p := range i.Platforms {
		documents := list(t, p)
		statements[p] = map[string]attest.Statement{
			attest.SPDX:      p.Statement(attest.SPDX, documents.SPDX),
			attest.CycloneDX: p.Statement(attest.CycloneDX, documents.CycloneDX),
		}
	}
	return statements
}

// TestVerifyPlatforms: each platform has SBOMs of its own, on its own image.
func TestVerifyPlatforms(t *testing.T) {
	t.Parallel()
	i, s := several(t), signer(t)
	for of, statements := range all(t, i) {
		attach(t, of, s, statements)
	}
	for _, layers := range []bool{true, false} {
		v, err := policy.Policy{Origin: origin, Layers: layers}.Verify(t.Context(), i, s.Verifier)
		if err != nil {
			t.Fatal(err)
		}
		if v.Image != i.Ref() || v.Packages != 0 || v.Origin.Revision != revision || len(v.Unusable) != 0 {
			t.Errorf("%+v", v)
		}
		want := []policy.Listed{{"linux/amd64", i.Platforms[0].Digest(), 1}, {"linux/arm64", i.Platforms[1].Digest(), 2}}
		if !slices.Equal(v.Platforms, want) {
			t.Errorf("%+v, want %+v", v.Platforms, want)
		}
		var said []string
		for _, a := range v.Attached {
			said = append(said, strings.TrimSpace(attest.Title(a.PredicateType)+" "+a.Platform))
		}
		if want := []string{"signature", "provenance", "SPDX SBOM linux/amd64", "CycloneDX SBOM linux/amd64", "SPDX SBOM linux/arm64", "CycloneDX SBOM linux/arm64"}; !slices.Equal(said, want) {
			t.Errorf("attached are %q, want %q", said, want)
		}
	}
}

func TestVerifyPlatformsRefuses(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		// change changes what is attached; arm is the second platform's image.
		change func(t *testing.T, i, arm *attest.Image, s *attest.Signer, all map[*attest.Image]map[string]attest.Statement)
		want   error
		text   string
	}{
		"no SBOM of one platform": {func(_ *testing.T, _, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			delete(all, arm)
		}, policy.ErrMissing, ": linux/arm64: its SPDX SBOM is missing"},
		"no CycloneDX SBOM of one platform": {func(_ *testing.T, _, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			delete(all[arm], attest.CycloneDX)
		}, policy.ErrMissing, ": linux/arm64: its CycloneDX SBOM is missing"},
		"the SBOM of another platform": {func(_ *testing.T, i, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			all[arm][attest.SPDX] = arm.Statement(attest.SPDX, all[i.Platforms[0]][attest.SPDX].Predicate)
		}, sbom.ErrOther, ": linux/arm64: its SPDX SBOM is refused"},
		// As releases did before.
		"the SBOMs on the list": {func(_ *testing.T, i, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			for _, of := range i.Platforms {
				for kind, statement := range all[of] {
					all[i][kind] = i.Statement(kind, statement.Predicate)
				}
				delete(all, of)
			}
		}, policy.ErrMissing, ": linux/amd64: its SPDX SBOM is missing"},
		"an SBOM by another key": {func(t *testing.T, _, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			attach(t, arm, signer(t), all[arm])
			delete(all, arm)
		}, attest.ErrOtherKey, ": linux/arm64: its SPDX SBOM is refused"},
		"a tampered SBOM": {func(t *testing.T, _, arm *attest.Image, s *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			bundle, err := s.Sign(t.Context(), all[arm][attest.SPDX])
			if err != nil {
				t.Fatal(err)
			}
			put(t, arm, tamper(t, bundle), attest.SPDX)
			delete(all[arm], attest.SPDX)
		}, attest.ErrTampered, ": linux/arm64: its SPDX SBOM is refused"},
		"signed on a platform alone": {func(_ *testing.T, i, arm *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			all[arm][attest.Signature] = arm.Statement(attest.Signature, []byte("{}"))
			delete(all[i], attest.Signature)
		}, policy.ErrMissing, ": its signature is missing"},
		"nothing on the list": {func(_ *testing.T, i, _ *attest.Image, _ *attest.Signer, all map[*attest.Image]map[string]attest.Statement) {
			delete(all, i)
		}, policy.ErrUnsigned, "release it again with a signing key"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i, s := several(t), signer(t)
			statements := all(t, i)
			c.change(t, i, i.Platforms[1], s, statements)
			for of, these := range statements {
				attach(t, of, s, these)
			}
			_, err := policy.Policy{Origin: origin}.Verify(t.Context(), i, s.Verifier)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), i.Ref()) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// TestVerifyComparesLabels: an image whose platforms are of two commits is of none.
func TestVerifyComparesLabels(t *testing.T) {
	t.Parallel()
	other := strings.Repeat("f", 40)
	i := open(t, push(t, index(
		on(build(t, "linux/amd64", revision, "express@4.22.1"), "linux/amd64"),
		on(build(t, "linux/arm64", other, "express@4.22.1"), "linux/arm64"),
	)))
	_, err := policy.Policy{}.Verify(t.Context(), i, signer(t).Verifier)
	if !errors.Is(err, provenance.ErrRevision) || !strings.Contains(err.Error(), "linux/arm64 names "+other) {
		t.Errorf("got %v", err)
	}
}

// TestOpenRefusesLists: a list that is no image of several platforms.
func TestOpenRefusesLists(t *testing.T) {
	t.Parallel()
	said, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	nameless, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]mutate.IndexAddendum, 65)
	for n := range many {
		many[n] = on(build(t, "linux/amd64", revision, "express@4.22.1"), "linux/amd64")
	}
	for what, c := range map[string]struct {
		of   []mutate.IndexAddendum
		want string
	}{
		"empty":                     {nil, "its list is empty"},
		"what a builder says alone": {[]mutate.IndexAddendum{on(said, "unknown/unknown")}, "its list is empty"},
		"a list in it":              {[]mutate.IndexAddendum{on(index(on(said, "linux/amd64")), "linux/amd64")}, "which is no image"},
		"one of no platform":        {[]mutate.IndexAddendum{on(nameless, "")}, "nothing says which one"},
		"too many":                  {many, "more than 64 images"},
	} {
		_, err := attest.Open(t.Context(), push(t, index(c.of...)), "", image.Options{PlainHTTP: true})
		if !errors.Is(err, attest.ErrList) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}
