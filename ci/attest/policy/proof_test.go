package policy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
)

const bump = "fedcba9876543210fedcba9876543210fedcba98"

// chain is what the proof of a release of a verified image says; change makes it say something else.
func chain(t *testing.T, i *attest.Image, v *policy.Verified, change func(facts map[string]any)) *proof.Chain {
	t.Helper()
	ref := "example.com/app@" + i.Digest()
	facts := map[string]any{
		"source":       map[string]any{"revision": revision, "inputsRevision": revision},
		"image":        map[string]any{"name": "example.com/app", "digest": i.Digest()},
		"verification": map[string]any{"origin": v.Origin, "attached": v.Attached},
		"commit": map[string]any{
			"commit": bump, "parent": revision, "remote": "https://github.com/acme/portal.git", "branch": "main",
			"edits": []any{map[string]any{"path": "image.digest", "after": i.Digest()}},
		},
		"proof": map[string]any{"proven": true, "revision": bump, "image": "example.com/app", "running": []any{map[string]any{"name": "app-1", "containers": []any{
			map[string]any{"name": "backend", "image": ref, "imageID": ref},
		}}}},
	}
	if change != nil {
		change(facts)
	}
	text, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	made, err := proof.New(text, "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestVerifyProof: the proof of a release beside an image is checked with it, where there is one or it is wanted.
func TestVerifyProof(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		// attach puts a proof beside the image.
		attach func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified)
		// verdict is how that on the first proof starts, empty for none.
		verdict string
		// refused is what is wrong where a proof is wanted, empty for nothing; unusable is that one beside it is of no use.
		refused  error
		unusable bool
	}{
		"none": {attach: func(*testing.T, *attest.Image, *attest.Signer, *policy.Verified) {}, refused: policy.ErrMissing},
		"of a release": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, nil))
		}, verdict: "a release: the commit " + bump},
		"of a release and of its proposal": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, func(f map[string]any) {
				f["commit"].(map[string]any)["pullRequest"] = map[string]any{"number": 7, "url": "u"}
			}))
			seal(t, i, s, chain(t, i, v, nil))
		}, verdict: "a release: the commit " + bump},
		"of a proposal alone": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, func(f map[string]any) {
				f["commit"].(map[string]any)["pullRequest"] = map[string]any{"number": 7, "url": "u"}
			}))
		}, verdict: "a proposal and no release", refused: proof.ErrProposed},
		"that no cluster ran": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, func(f map[string]any) { delete(f, "proof") }))
		}, verdict: "a release: the commit " + bump, refused: proof.ErrNotRun},
		"by another key": {attach: func(t *testing.T, i *attest.Image, _ *attest.Signer, v *policy.Verified) {
			seal(t, i, signer(t), chain(t, i, v, nil))
		}, refused: attest.ErrOtherKey},
		"tampered with": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			bundle, err := chain(t, i, v, nil).Sign(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			put(t, i, tamper(t, bundle), proof.PredicateType)
		}, refused: attest.ErrTampered, unusable: true},
		"of another image": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			bundle, err := chain(t, publish(t, "4.0.0"), v, nil).Sign(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			put(t, i, bundle, proof.PredicateType)
		}, refused: attest.ErrOtherImage, unusable: true},
		"of another repository": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, func(f map[string]any) {
				other := v.Origin
				other.Repository = "https://github.com/evil/portal"
				f["verification"].(map[string]any)["origin"] = other
			}))
		}, refused: proof.ErrOtherSource, unusable: true},
		"of SBOMs that are not there": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer, v *policy.Verified) {
			seal(t, i, s, chain(t, i, v, func(f map[string]any) {
				attached := append([]attest.Attached{}, v.Attached...)
				attached[2].Digest = "sha256:" + strings.Repeat("1", 64)
				f["verification"].(map[string]any)["attached"] = attached
			}))
		}, refused: proof.ErrMissing, unusable: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i, s := publish(t, "4.22.1"), signer(t)
			attach(t, i, s, statements(t, i, origin))
			before, err := policy.Policy{Origin: origin}.Verify(t.Context(), i, s.Verifier)
			if err != nil || len(before.Proofs) > 0 {
				t.Fatalf("%+v, %v", before, err)
			}
			c.attach(t, i, s, before)
			got, err := policy.Policy{Origin: origin}.Verify(t.Context(), i, s.Verifier)
			if err != nil {
				t.Fatal(err)
			}
			if c.verdict == "" != (len(got.Proofs) == 0) || c.verdict != "" && !strings.HasPrefix(got.Proofs[0].Verdict, c.verdict) || c.unusable != (len(got.Unusable) == 1) {
				t.Errorf("proofs %+v, of no use %+v", got.Proofs, got.Unusable)
			}
			_, err = policy.Policy{Origin: origin, Proof: true}.Verify(t.Context(), i, s.Verifier)
			if (c.refused == nil) != (err == nil) || c.refused != nil && !errors.Is(err, c.refused) || err != nil && !strings.HasPrefix(err.Error(), i.Ref()+": its proof is ") {
				t.Errorf("where it is wanted: got %v, want %v", err, c.refused)
			}
		})
	}
}

func seal(t *testing.T, i *attest.Image, s *attest.Signer, c *proof.Chain) {
	t.Helper()
	if _, _, err := c.Attach(t.Context(), i, s, false); err != nil {
		t.Fatal(err)
	}
}
