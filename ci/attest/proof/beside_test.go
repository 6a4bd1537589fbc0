package proof_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// published is an image like no other in a registry of its own.
func published(t *testing.T) *attest.Image {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(strings.TrimPrefix(s.URL, "http://") + "/app:1")
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
	i, err := attest.Open(t.Context(), tag.Context().Name()+"@"+digest.String(), "docker.io/user/backstage-gitops", image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const tree = "dddddddddddddddddddddddddddddddddddddddd"

// on are the facts of a release of an image: its proof, where a cluster ran the commit ran.
func on(t *testing.T, i *attest.Image, commits []string, ran string) map[string]any {
	t.Helper()
	f := facts(commits)
	set(t, f, i.Digest(), "image", "digest")
	set(t, f, i.Digest(), "commit", "edits", 1, "after")
	set(t, f, tree, "commit", "tree")
	if ran == "" {
		delete(f, "proof")
		return f
	}
	set(t, f, ran, "proof", "revision")
	for n := range 2 {
		set(t, f, "docker.io/user/backstage-gitops@"+i.Digest(), "proof", "running", 0, "containers", n, "imageID")
	}
	return f
}

// again are the facts of a later run, which finds nothing to release.
func again(t *testing.T, i *attest.Image, commits []string) map[string]any {
	t.Helper()
	f := on(t, i, commits, "")
	set(t, f, []any{}, "commit", "edits")
	set(t, f, true, "commit", "nothing")
	// The branch went on since.
	set(t, f, commits[1], "commit", "source")
	set(t, f, strings.Repeat("9", 40), "source", "revision")
	set(t, f, f["attestation"].(map[string]any)["attached"], "verification", "attached")
	delete(f, "attestation")
	return f
}

func attach(t *testing.T, i *attest.Image, s *attest.Signer, f map[string]any, candidate, unproven bool) (*proof.Document, bool, error) {
	t.Helper()
	read := proof.New
	if candidate {
		read = proof.NewCandidate
	}
	chain, err := read(encode(t, f), "charts/backstage")
	if err != nil {
		return nil, false, err
	}
	return chain.Attach(t.Context(), i, s, unproven)
}

// TestAttach: the document of a release is made once, by the run that made the commit, or by a later one of what was left
// beside the image.
func TestAttach(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	bump := commits[2]
	candidate := strings.Repeat("c", 40)
	pull := map[string]any{"number": 7, "url": "https://github.com/user/repo/pull/7"}
	for what, c := range map[string]struct {
		// before attaches what an earlier run left.
		before func(t *testing.T, i *attest.Image, s *attest.Signer)
		// facts are those of the run.
		facts    func(t *testing.T, i *attest.Image) map[string]any
		unproven bool
		// ran is what Argo CD ran by the document, empty for nothing.
		ran  string
		kept bool
		want error
	}{
		"a release":                   {facts: func(t *testing.T, i *attest.Image) map[string]any { return on(t, i, commits, bump) }, ran: bump},
		"a release without a cluster": {facts: func(t *testing.T, i *attest.Image) map[string]any { return on(t, i, commits, "") }},
		"interrupted before its proof": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) { must(t, i, s, on(t, i, commits, bump), true) },
			facts:  func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) },
			ran:    bump,
		},
		"interrupted, with a commit of GitHub's": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				f := on(t, i, commits, candidate)
				set(t, f, candidate, "commit", "commit")
				must(t, i, s, f, true)
			},
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) },
			ran:   candidate,
		},
		"proposed, and merged since": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				f := on(t, i, commits, bump)
				set(t, f, pull, "commit", "pullRequest")
				must(t, i, s, f, false)
			},
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) },
			ran:   bump,
		},
		"done before": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) { must(t, i, s, on(t, i, commits, bump), false) },
			facts:  func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) },
			ran:    bump, kept: true,
		},
		"done before, without a cluster": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) { must(t, i, s, on(t, i, commits, ""), false) },
			facts:  func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) },
			kept:   true,
		},
		"proven only now": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) { must(t, i, s, on(t, i, commits, ""), false) },
			facts:  func(t *testing.T, i *attest.Image) map[string]any { return on(t, i, commits, bump) },
			ran:    bump,
		},
		"interrupted, without a cluster": {
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) }, unproven: true,
		},
		"nothing left": {
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) }, want: proof.ErrForgotten,
		},
		"left by another key": {
			before: func(t *testing.T, i *attest.Image, _ *attest.Signer) {
				must(t, i, signer(t), on(t, i, commits, bump), true)
			},
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) }, want: proof.ErrForgotten,
		},
		"the candidate of another tree": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				f := on(t, i, commits, candidate)
				set(t, f, candidate, "commit", "commit")
				set(t, f, strings.Repeat("e", 40), "commit", "tree")
				must(t, i, s, f, true)
			},
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) }, want: proof.ErrForgotten,
		},
		"the candidate on another parent": {
			before: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				f := on(t, i, commits, candidate)
				set(t, f, candidate, "commit", "commit")
				set(t, f, commits[0], "commit", "parent")
				must(t, i, s, f, true)
			},
			facts: func(t *testing.T, i *attest.Image) map[string]any { return again(t, i, commits) }, want: proof.ErrForgotten,
		},
		"a commit that is no release's": {
			facts: func(t *testing.T, i *attest.Image) map[string]any {
				f := again(t, i, commits)
				set(t, f, "", "commit", "source")
				return f
			}, want: proof.ErrNoRelease,
		},
		"another image": {
			facts: func(t *testing.T, i *attest.Image) map[string]any { return on(t, published(t), commits, bump) }, want: proof.ErrOtherImage,
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i, s := published(t), signer(t)
			if c.before != nil {
				c.before(t, i, s)
			}
			f := c.facts(t, i)
			d, kept, err := attach(t, i, s, f, false, c.unproven)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			ran := ""
			if d.ArgoCD != nil {
				ran = d.ArgoCD.Revision
			}
			if kept != c.kept || d.Outcome != proof.Released || d.Revision != commits[1] || d.Commit.SHA != bump || ran != c.ran {
				t.Errorf("kept: %t, %s", kept, encode(t, d.Chain))
			}
			// It is what anybody checks offline, and what is fetched; made again it stays.
			want := proof.Want{Image: i.Ref(), Unproven: c.ran == ""}
			if _, err := proof.Verify(d.Text, s.Verifier, want); err != nil {
				t.Error(err)
			}
			found, err := proof.Find(t.Context(), i, s.Verifier, want, bump)
			if err != nil || found.Digest != d.Digest && c.ran == "" || !bytes.Equal(found.Text, d.Text) && c.ran == "" {
				t.Errorf("%v, %v; want %s", found, err, d.Digest)
			}
			if d2, kept, err := attach(t, i, s, again(t, i, commits), false, false); err != nil || !kept || d2.Outcome != proof.Released {
				t.Errorf("again: %v, kept: %t", err, kept)
			}
		})
	}
}

func must(t *testing.T, i *attest.Image, s *attest.Signer, f map[string]any, candidate bool) *proof.Document {
	t.Helper()
	d, _, err := attach(t, i, s, f, candidate, false)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCandidateDocument: what ran before anything was pushed is no release, and has to be wanted as what it is.
func TestCandidateDocument(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	i, s := published(t), signer(t)
	d := must(t, i, s, on(t, i, commits, commits[2]), true)
	if !strings.HasPrefix(d.Verdict(), "a candidate and no release: the commit "+commits[2]) {
		t.Error(d.Verdict())
	}
	for _, want := range []proof.Want{{}, {Unproven: true}, {Proposed: true}} {
		if _, err := proof.Find(t.Context(), i, s.Verifier, want, ""); !errors.Is(err, proof.ErrCandidate) {
			t.Errorf("%+v: got %v", want, err)
		}
	}
	if _, err := proof.Find(t.Context(), i, s.Verifier, proof.Want{Candidate: true}, ""); err != nil {
		t.Error(err)
	}
	if again := must(t, i, s, on(t, i, commits, commits[2]), true); again.Digest != d.Digest {
		t.Errorf("proven again it is %s, before %s", again.Digest, d.Digest)
	}
	for what, change := range map[string]func(map[string]any){
		"that nothing ran":        func(f map[string]any) { delete(f, "proof") },
		"that waits":              func(f map[string]any) { set(t, f, map[string]any{"number": 7, "url": "u"}, "commit", "pullRequest") },
		"that is another's":       func(f map[string]any) { set(t, f, strings.Repeat("c", 40), "commit", "candidate") },
		"of another chart":        func(f map[string]any) { set(t, f, "sha256:1", "commit", "edits", 1, "after") },
		"that ran another commit": func(f map[string]any) { set(t, f, commits[0], "proof", "revision") },
	} {
		f := on(t, i, commits, commits[2])
		change(f)
		if _, err := proof.NewCandidate(encode(t, f), "charts/backstage"); !errors.Is(err, proof.ErrFacts) {
			t.Errorf("a candidate %s: %v", what, err)
		}
	}
}

// TestFindRefuses: by name of what is wrong with what is beside the image, or that nothing is.
func TestFindRefuses(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	for what, c := range map[string]struct {
		attach func(t *testing.T, i *attest.Image, s *attest.Signer)
		want   proof.Want
		commit string
		err    error
	}{
		"nothing": {attach: func(*testing.T, *attest.Image, *attest.Signer) {}, err: proof.ErrNone},
		"by another key": {attach: func(t *testing.T, i *attest.Image, _ *attest.Signer) {
			must(t, i, signer(t), on(t, i, commits, commits[2]), false)
		}, err: proof.ErrNone},
		"of another source commit": {
			attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				must(t, i, s, on(t, i, commits, commits[2]), false)
			},
			want: proof.Want{Revision: commits[0]}, err: proof.ErrOtherRevision,
		},
		"of another commit": {
			attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				must(t, i, s, on(t, i, commits, commits[2]), false)
			},
			commit: commits[1], err: proof.ErrOtherBump,
		},
		"that no cluster ran": {
			attach: func(t *testing.T, i *attest.Image, s *attest.Signer) { must(t, i, s, on(t, i, commits, ""), false) },
			err:    proof.ErrNotRun,
		},
		"of another image": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
			chain, err := proof.New(encode(t, on(t, published(t), commits, commits[2])), "charts/backstage")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := i.Attach(t.Context(), s, i.Statement(proof.PredicateType, encode(t, chain))); err != nil {
				t.Fatal(err)
			}
		}, err: proof.ErrOtherImage},
		"that is none": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
			if _, err := i.Attach(t.Context(), s, i.Statement(proof.PredicateType, []byte("{}"))); err != nil {
				t.Fatal(err)
			}
		}, err: proof.ErrBroken},
		"of another commit, beside its candidate": {
			attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
				must(t, i, s, on(t, i, commits, commits[2]), true)
				must(t, i, s, on(t, i, commits, commits[2]), false)
			},
			commit: commits[1], err: proof.ErrOtherBump,
		},
		"that is none, beside a candidate": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
			must(t, i, s, on(t, i, commits, commits[2]), true)
			if _, err := i.Attach(t.Context(), s, i.Statement(proof.PredicateType, []byte("{}"))); err != nil {
				t.Fatal(err)
			}
		}, err: proof.ErrBroken},
		"of two commits": {attach: func(t *testing.T, i *attest.Image, s *attest.Signer) {
			must(t, i, s, on(t, i, commits, commits[2]), false)
			f := on(t, i, commits, commits[1])
			set(t, f, commits[1], "commit", "commit")
			must(t, i, s, f, false)
		}, err: proof.ErrSeveral},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i, s := published(t), signer(t)
			c.attach(t, i, s)
			if _, err := proof.Find(t.Context(), i, s.Verifier, c.want, c.commit); !errors.Is(err, c.err) || !strings.HasPrefix(err.Error(), i.Ref()) {
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}

// TestPlatformsOfAProof: a document names the SBOMs of each platform, or is refused.
func TestPlatformsOfAProof(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	several := func() []any {
		var all []any
		for _, a := range []attest.Attached{
			{PredicateType: attest.SPDX, Platform: "linux/amd64"}, {PredicateType: attest.CycloneDX, Platform: "linux/amd64"},
			{PredicateType: attest.SPDX, Platform: "linux/arm64"}, {PredicateType: attest.CycloneDX, Platform: "linux/arm64"},
			{PredicateType: attest.Provenance}, {PredicateType: attest.Signature},
		} {
			all = append(all, map[string]any{"predicateType": a.PredicateType, "platform": a.Platform, "digest": "sha256:" + strings.Repeat("1", 64)})
		}
		return all
	}
	for missing, want := range map[int]string{-1: "", 0: "its SPDX SBOM linux/amd64", 3: "its CycloneDX SBOM linux/arm64", 4: "its provenance", 5: "its signature"} {
		f := facts(commits)
		all := several()
		if missing >= 0 {
			all = append(all[:missing], all[missing+1:]...)
		}
		set(t, f, all, "attestation", "attached")
		_, err := proof.New(encode(t, f), "charts/backstage")
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (!errors.Is(err, proof.ErrMissing) || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
