package proof_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

var digest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

// repository is a clone with a release's commits: one that changed the image, one after it, and the bump.
func repository(t *testing.T) (dir string, commits []string) {
	t.Helper()
	dir = t.TempDir()
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		run("add", "-A")
		run("commit", "-q", "-m", name)
		commits = append(commits, run("rev-parse", "HEAD"))
	}
	run("init", "-q", "-b", "main")
	write("backstage/app.ts", "1")
	write("README.md", "2")
	write("charts/backstage/values.yaml", "image:\n  tag: main-1\n  digest: "+digest+"\n")
	return dir, commits
}

// facts are those of a release of the commits, as the steps print them.
func facts(commits []string) map[string]any {
	attached := []any{}
	for _, kind := range []string{attest.SPDX, attest.CycloneDX, attest.Provenance, attest.Signature} {
		attached = append(attached, map[string]any{"predicateType": kind, "digest": "sha256:" + strings.Repeat("1", 64)})
	}
	return map[string]any{
		"source":       map[string]any{"revision": commits[1], "inputsRevision": commits[0], "tag": "main-1"},
		"image":        map[string]any{"name": "docker.io/user/backstage-gitops", "digest": digest, "tag": "main-1"},
		"attestation":  map[string]any{"attached": attached, "signed": true},
		"verification": map[string]any{"origin": map[string]any{"repository": "https://github.com/user/repo", "revision": commits[0], "builder": "b"}},
		"commit":       map[string]any{"commit": commits[2], "parent": commits[1], "remote": "https://github.com/user/repo.git", "branch": "main", "edits": []any{map[string]any{"file": "values.yaml", "path": "image.tag", "after": "main-1"}, map[string]any{"file": "values.yaml", "path": "image.digest", "after": digest}}},
		"proof": map[string]any{"proven": true, "revision": commits[2], "digest": digest, "image": "docker.io/user/backstage-gitops", "running": []any{map[string]any{"name": "backstage-1", "containers": []any{
			map[string]any{"name": "backend", "image": "docker.io/user/backstage-gitops:main-1@" + digest, "imageID": "docker.io/user/backstage-gitops@" + digest},
			map[string]any{"name": "frontend", "image": "user/backstage-gitops@" + digest, "imageID": "docker.io/user/backstage-gitops@" + digest},
			map[string]any{"name": "sidecar", "image": "docker.io/library/other:1", "imageID": "docker.io/library/other@sha256:2"},
		}}}},
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

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

// set replaces a value of nested objects and lists.
func set(t *testing.T, in any, value any, keys ...any) {
	t.Helper()
	for n, key := range keys {
		last := n == len(keys)-1
		switch key := key.(type) {
		case string:
			object := in.(map[string]any)
			if _, ok := object[key]; !ok && !last {
				t.Fatalf("no %s", key)
			}
			if last {
				object[key] = value
			}
			in = object[key]
		case int:
			list := in.([]any)
			if last {
				list[key] = value
			}
			in = list[key]
		}
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	dir, commits := repository(t)
	chain, err := proof.New(encode(t, facts(commits)), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	text, err := chain.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	read, err := proof.Verify(text, s.Verifier, proof.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, read), encode(t, chain)) {
		t.Errorf("%s; want %s", encode(t, read), encode(t, chain))
	}
	if read.Outcome != proof.Released || !strings.HasPrefix(read.Verdict(), "a release: the commit "+commits[2]) || strings.Contains(read.Verdict(), "no cluster") {
		t.Errorf("%s: %s", read.Outcome, read.Verdict())
	}
	if read.Image != "docker.io/user/backstage-gitops@"+digest || read.Commit.SHA != commits[2] || read.ArgoCD.Revision != commits[2] || len(read.ArgoCD.Running) != 2 || len(read.Attached) != 4 {
		t.Errorf("%+v", read)
	}
	if err := read.In(t.Context(), git.Open(dir)); err != nil {
		t.Error(err)
	}
}

// TestRefused: facts that do not fit together make no document, and a document that says the same, signed by whom it
// has to be, is refused as well.
func TestRefused(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	const other = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for what, c := range map[string]struct {
		change func(t *testing.T, f map[string]any)
		want   error
	}{
		"a chart of another image":        {func(t *testing.T, f map[string]any) { set(t, f, other, "commit", "edits", 1, "after") }, proof.ErrOtherImage},
		"a chart of none":                 {func(t *testing.T, f map[string]any) { set(t, f, []any{}, "commit", "edits") }, proof.ErrOtherImage},
		"a provenance for another commit": {func(t *testing.T, f map[string]any) { set(t, f, commits[1], "verification", "origin", "revision") }, proof.ErrOtherSource},
		"Argo CD at another commit":       {func(t *testing.T, f map[string]any) { set(t, f, commits[1], "proof", "revision") }, proof.ErrOtherCommit},
		"a pod of another image": {func(t *testing.T, f map[string]any) {
			set(t, f, "docker.io/user/backstage-gitops@"+other, "proof", "running", 0, "containers", 1, "imageID")
		}, proof.ErrOtherPod},
		"no pod":     {func(t *testing.T, f map[string]any) { set(t, f, []any{}, "proof", "running") }, proof.ErrNotRun},
		"no SBOM":    {func(t *testing.T, f map[string]any) { set(t, f, map[string]any{}, "attestation", "attached", 0) }, proof.ErrMissing},
		"no facts":   {func(_ *testing.T, f map[string]any) { clear(f) }, proof.ErrBroken},
		"no commit":  {func(_ *testing.T, f map[string]any) { delete(f, "commit") }, proof.ErrBroken},
		"not signed": {func(_ *testing.T, f map[string]any) { delete(f, "attestation") }, proof.ErrMissing},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := facts(commits)
			c.change(t, f)
			if _, err := proof.New(encode(t, f), "charts/backstage"); !errors.Is(err, proof.ErrFacts) || !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestNotRun: a release that no cluster ran has a document, which has to be wanted.
func TestNotRun(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	f := facts(commits)
	delete(f, "proof")
	chain, err := proof.New(encode(t, f), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	text, err := chain.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.Verify(text, s.Verifier, proof.Want{}); !errors.Is(err, proof.ErrNotRun) {
		t.Errorf("got %v", err)
	}
	if _, err := proof.Verify(text, s.Verifier, proof.Want{Unproven: true}); err != nil {
		t.Error(err)
	}
}

// TestWant: a document on something else than what is asked for is refused, and so is what no document can be on.
func TestWant(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	chain, err := proof.New(encode(t, facts(commits)), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	text, err := chain.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	other := "sha256:" + strings.Repeat("0", 64)
	for what, c := range map[string]struct {
		want proof.Want
		err  error
	}{
		"the image":                 {proof.Want{Image: "docker.io/user/backstage-gitops@" + digest}, nil},
		"the image, as docker does": {proof.Want{Image: "user/backstage-gitops@" + digest}, nil},
		"the image, with a tag":     {proof.Want{Image: "docker.io/user/backstage-gitops:main-1@" + digest}, nil},
		"the digest":                {proof.Want{Image: digest}, nil},
		"the commit":                {proof.Want{Revision: commits[1]}, nil},
		"both":                      {proof.Want{Image: digest, Revision: commits[1]}, nil},
		"another image":             {proof.Want{Image: "docker.io/user/backstage-gitops@" + other}, proof.ErrOtherImage},
		"another name":              {proof.Want{Image: "docker.io/evil/backstage-gitops@" + digest}, proof.ErrOtherImage},
		"another registry":          {proof.Want{Image: "ghcr.io/user/backstage-gitops@" + digest}, proof.ErrOtherImage},
		"another digest":            {proof.Want{Image: other}, proof.ErrOtherImage},
		"the bump commit":           {proof.Want{Revision: commits[2]}, proof.ErrOtherRevision},
		"another commit":            {proof.Want{Image: digest, Revision: commits[0]}, proof.ErrOtherRevision},
		"a short commit":            {proof.Want{Revision: commits[1][:12]}, proof.ErrWant},
		"a branch":                  {proof.Want{Revision: "main"}, proof.ErrWant},
		"a tag":                     {proof.Want{Image: "docker.io/user/backstage-gitops:main-1"}, proof.ErrWant},
		"half a digest":             {proof.Want{Image: digest[:20]}, proof.ErrWant},
		"no name":                   {proof.Want{Image: "@" + digest}, proof.ErrWant},
		"no reference":              {proof.Want{Image: "docker.io/UPPER@" + digest}, proof.ErrWant},
	} {
		if _, err := proof.Verify(text, s.Verifier, c.want); !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", what, err, c.err)
		}
	}
}

// TestProposed: a commit that waits in a pull request makes a document, which says that it is of a proposal and has to be
// wanted as one; merged it is a release.
func TestProposed(t *testing.T) {
	t.Parallel()
	dir, commits := repository(t)
	f := facts(commits)
	set(t, f, map[string]any{"number": 7, "url": "https://github.com/user/repo/pull/7"}, "commit", "pullRequest")
	chain, err := proof.New(encode(t, f), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	text, err := chain.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []proof.Want{{}, {Unproven: true}, {Image: digest}} {
		if _, err := proof.Verify(text, s.Verifier, want); !errors.Is(err, proof.ErrProposed) || !strings.Contains(err.Error(), "https://github.com/user/repo/pull/7") {
			t.Errorf("%+v: got %v", want, err)
		}
	}
	read, err := proof.Verify(text, s.Verifier, proof.Want{Proposed: true})
	if err != nil {
		t.Fatal(err)
	}
	if read.Outcome != proof.Proposed || !strings.HasPrefix(read.Verdict(), "a proposal and no release: ") || !bytes.Contains(encode(t, read), []byte(`"outcome":"proposed"`)) {
		t.Errorf("%s: %s", encode(t, read), read.Verdict())
	}
	if err := read.In(t.Context(), git.Open(dir)); err != nil {
		t.Error(err)
	}

	// Whoever can sign can still not call it a release.
	for what, outcome := range map[string]string{"a release": proof.Released, "nothing": "", "something else": "done"} {
		chain.Outcome = outcome
		text, err := chain.Sign(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proof.Verify(text, s.Verifier, proof.Want{Proposed: true}); !errors.Is(err, proof.ErrBroken) {
			t.Errorf("called %s: got %v", what, err)
		}
	}

	set(t, f, true, "commit", "pullRequest", "merged")
	merged, err := proof.New(encode(t, f), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	if merged.Outcome != proof.Released || merged.Commit.PullRequest.Number != 7 {
		t.Errorf("%+v", merged)
	}
}

// TestCandidate: GitHub makes a commit of its own with the tree of the one that was proven.
func TestCandidate(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	f := facts(commits)
	candidate := strings.Repeat("c", 40)
	set(t, f, candidate, "proof", "revision")
	if _, err := proof.New(encode(t, f), "charts/backstage"); !errors.Is(err, proof.ErrOtherCommit) {
		t.Errorf("got %v", err)
	}
	set(t, f, candidate, "commit", "candidate")
	if _, err := proof.New(encode(t, f), "charts/backstage"); err != nil {
		t.Error(err)
	}
}

// TestTampered: whatever is changed in a document, it is refused, and by name.
func TestTampered(t *testing.T) {
	t.Parallel()
	_, commits := repository(t)
	chain, err := proof.New(encode(t, facts(commits)), "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	s := signer(t)
	text, err := chain.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		DSSEEnvelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		t.Fatal(err)
	}
	payload := bundle.DSSEEnvelope.Payload
	with := func(changed []byte) []byte {
		was, now := encode(t, payload), encode(t, changed)
		return bytes.Replace(text, was[1:len(was)-1], now[1:len(now)-1], 1)
	}
	statement, err := s.Sign(t.Context(), attest.NewStatement("a", strings.TrimPrefix(digest, "sha256:"), attest.SPDX, []byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := s.Sign(t.Context(), attest.NewStatement("a", strings.Repeat("0", 64), proof.PredicateType, encode(t, chain)))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		text []byte
		by   *attest.Signer
		want error
	}{
		"another commit":    {with(bytes.ReplaceAll(payload, []byte(commits[2]), []byte(commits[1]))), s, attest.ErrTampered},
		"another image":     {with(bytes.ReplaceAll(payload, []byte(digest), []byte("sha256:"+strings.Repeat("0", 64)))), s, attest.ErrTampered},
		"a blank":           {with(append(bytes.Clone(payload), ' ')), s, attest.ErrTampered},
		"another key":       {text, signer(t), attest.ErrOtherKey},
		"another document":  {statement, s, proof.ErrBroken},
		"another subject":   {subject, s, proof.ErrOtherImage},
		"half of it":        {text[:len(text)/2], s, attest.ErrBroken},
		"nothing":           {nil, s, attest.ErrBroken},
		"an unsigned chain": {encode(t, chain), s, attest.ErrBroken},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if _, err := proof.Verify(c.text, c.by.Verifier, proof.Want{Unproven: true, Proposed: true}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestRepository: a clone that tells another story.
func TestRepository(t *testing.T) {
	t.Parallel()
	dir, commits := repository(t)
	for what, c := range map[string]struct {
		change func(*proof.Chain)
		dir    string
		want   string
	}{
		"no such commit": {func(c *proof.Chain) { c.Commit.SHA = strings.Repeat("f", 40) }, dir, "it has no commit"},
		"another order":  {func(c *proof.Chain) { c.Revision, c.InputsRevision = commits[0], commits[1] }, dir, "is not in the history of"},
		"another parent": {func(c *proof.Chain) { c.Commit.Parent = commits[0] }, dir, "the parent of"},
		"another chart":  {func(c *proof.Chain) { c.Commit.Chart = "charts/none" }, dir, "has no chart charts/none"},
		"another digest": {func(c *proof.Chain) { c.Commit.Digest = "sha256:2" }, dir, "names \"" + digest},
		"another branch": {func(c *proof.Chain) { c.Commit.Branch = "other" }, dir, "is not on the branch other"},
		"no repository":  {func(*proof.Chain) {}, t.TempDir(), "it has no commit"},
	} {
		chain, err := proof.New(encode(t, facts(commits)), "charts/backstage")
		if err != nil {
			t.Fatal(err)
		}
		c.change(chain)
		if err := chain.In(t.Context(), git.Open(c.dir)); !errors.Is(err, proof.ErrRepository) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}
