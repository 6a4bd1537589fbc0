package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"dagger/backstage-gitops/internal/dagger"
)

// Return the signed proof bundle of a release, as it is attached to its image: source
// commit, image, SBOMs and provenance, the commit that names it, what Argo CD ran. Fails
// and names the problem if it is missing, unsigned or inconsistent.
//
// Without arguments, returns that of the image that the embedded Git remote's chart
// names. `release-proof export --path release.proof.json` keeps it; `attest proof
// verify` checks it offline.
//
// +cache="never"
func (m *BackstageGitops) ReleaseProof(ctx context.Context,
	// Image by its digest, such as docker.io/USER/backstage-gitops@sha256:…; default:
	// the one that the embedded Git remote's chart names.
	//
	// +optional
	image string,

	// Public key of the required signer; default: the embedded key, or that of
	// --signing-key.
	//
	// +optional
	key *dagger.File,

	// Workflow that must have signed it keyless, such as
	// https://github.com/OWNER/REPO/.github/workflows/release.yml@refs/heads/main.
	//
	// +optional
	identity string,

	// Trusted root of the Sigstore that certified the workflow, as for verify-release.
	//
	// +optional
	trustedRoot *dagger.File,

	// Source commit that it must be the release of, in full; default: any.
	//
	// +optional
	revision string,

	// Commit that names the image, in full, if several do.
	//
	// +optional
	commit string,

	// Accept the proof bundle of a release that no cluster ran (--verify=false).
	//
	// +optional
	unproven bool,

	// Accept the proof bundle of a proposal, whose commit waits in a pull request.
	//
	// +optional
	proposed bool,

	// Branch of the embedded Git remote.
	//
	// +default="main"
	branch string,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,
) (*dagger.File, error) {
	a, args, err := m.trusting(ctx, signature{image: image, branch: branch, username: username, key: key, identity: identity, trustedRoot: trustedRoot, password: password})
	if err != nil {
		return nil, err
	}
	for _, of := range []struct{ flag, value string }{{"--revision", revision}, {"--commit", commit}} {
		if of.value != "" {
			args = append(args, of.flag, of.value)
		}
	}
	fetched := a.fetch(append(args, fmt.Sprintf("--unproven=%t", unproven), fmt.Sprintf("--proposed=%t", proposed))...)
	if err := succeeded(ctx, fetched); err != nil {
		return nil, err
	}
	return fetched.File("/" + sealFile).Sync(ctx)
}

// sealFile is the signed document in a release's report.
const sealFile = "release.proof.json"

// fetch runs the program that fetches the proof of a release.
func (a *attester) fetch(args ...string) *dagger.Container {
	args = append(append([]string{"attest", "proof", "fetch"}, a.image()...), args...)
	return anew(a.box).WithExec(append(args, "--out", "/"+sealFile), dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
}

// sign runs the program that signs the proof of these facts, and puts it beside the
// image.
func (a *attester) sign(facts map[string]any, args ...string) (*dagger.Container, error) {
	text, err := json.Marshal(facts)
	if err != nil {
		return nil, err
	}
	box, key := a.signer()
	args = append(append([]string{"attest", "proof", "sign", "/facts.json", "--chart", chartPath, "--out", "/" + sealFile, "--attach"}, a.image()...), args...)
	return anew(box).WithNewFile("/facts.json", string(text)).WithExec(append(args, key...), dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}), nil
}

// record puts a signed document of what the cluster ran beside the image, before the
// commit is pushed: it is gone with the session, and needed to sign the proof of the
// release where that is interrupted.
func (a *attester) record(ctx context.Context) error {
	if !a.made.Signed {
		return nil
	}
	var commit map[string]any
	if err := json.Unmarshal(a.proposed, &commit); err != nil || commit["nothing"] == true {
		return err
	}
	commit["remote"] = a.target.remote
	facts := maps.Clone(a.facts)
	facts["commit"] = commit
	signed, err := a.sign(facts, "--candidate")
	if err == nil {
		err = succeeded(ctx, signed)
	}
	if err != nil {
		return fmt.Errorf("sign what was proven: %w: the image %s@%s is published, nothing was committed", err, a.name(), a.digest)
	}
	return nil
}

// seal ties the release together in one signed document, beside its image and in its
// report. Where an earlier run made the commit, it makes up for what that one left.
func (a *attester) seal(ctx context.Context) error {
	if !a.made.Signed && a.seen == nil {
		return nil // nothing signs
	}
	commit, err := a.committed()
	if err != nil {
		return err
	}
	facts := maps.Clone(a.facts)
	if a.built == nil {
		there, err := a.proofOf(commit)
		if err != nil || there {
			return err
		}
		facts["verification"] = a.seen
	}
	signed, err := a.sign(facts, fmt.Sprintf("--unproven=%t", !a.target.proven))
	if err != nil {
		return err
	}
	code, err := signed.ExitCode(ctx)
	if err != nil {
		return err
	}
	if code == refused && commit.Nothing {
		why, err := failureOf(ctx, signed)
		a.facts["proofBundle"] = map[string]string{"missing": why}
		return err
	}
	if err := succeeded(ctx, signed); err != nil {
		return fmt.Errorf("%w: the commit is there, without its proof; the same command continues from there", err)
	}
	said, err := signed.Stdout(ctx)
	a.facts["proofBundle"], a.sealed = json.RawMessage(said), signed.File("/"+sealFile)
	return err
}

// proofOf says whether the proof of a release's commit was seen beside the image.
func (a *attester) proofOf(commit committed) (bool, error) {
	var seen verified
	if err := json.Unmarshal(a.seen, &seen); err != nil {
		return false, fmt.Errorf("attest verify-release: %w", err)
	}
	for _, p := range seen.Proofs {
		if p.Outcome == "released" && p.Commit.SHA == commit.SHA && p.Commit.Branch == a.target.branch {
			a.facts["proofBundle"] = map[string]any{"digest": p.Digest, "verdict": p.Verdict, "kept": true}
			// Fetched where somebody wants the file.
			a.sealed = a.fetch(append(slices.Clone(a.signature), "--commit", commit.SHA, "--unproven")...).File("/" + sealFile)
			return true, nil
		}
	}
	return false, nil
}

// proven are the rows on the signed proofs of releases that are beside an image.
func (v verified) proven() string {
	var released, others, refused string
	for _, p := range v.Proofs {
		row := fmt.Sprintf("| Proof | %s: %s |\n", p.Digest, p.Verdict)
		if p.Outcome == "released" {
			released += row
		} else {
			others += row
		}
	}
	for _, u := range v.Unusable {
		if u.PredicateType == proofType {
			refused += fmt.Sprintf("| Proof, refused | %s: %s |\n", u.Digest, u.Reason)
		}
	}
	return cmp.Or(released, others, "| Proof | none of a release is beside the image |\n") + refused
}

// proofType is the kind of document that a proof of a release is.
const proofType = "https://github.com/backstage-gitops/backstage-gitops/blob/main/ci/attest/README.md#proof-v1"
