package acceptance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// A release to a registry and a Git remote of somebody's own, which want credentials and say no. They run beside this
// test, where the module's containers reach them by this machine's address.
func TestOwnTargets(t *testing.T) {
	t.Parallel()
	password, token := "canary-password-"+rand.Text(), "canary-token-"+rand.Text()
	registry := startRegistry(t, "somebody", password)
	remote := startGit(t, token)
	git(t, project, "push", "--quiet", remote.repository, "HEAD:refs/heads/main")
	head := git(t, project, "rev-parse", "HEAD")

	arguments := fmt.Sprintf(`image: %q, username: "somebody", password: $password, remote: %q, token: $token`,
		registry.address+"/portal", "http://"+remote.address+"/portal.git")
	keyPassword := "canary-key-" + rand.Text()
	private, public := keyPair(t, keyPassword)
	var said []string
	signing := module{Key: private, KeyPassword: keyPassword}
	try := func(password, token string) (released, error) {
		r, err := release(t, signing, arguments, secret(t, "password", password), secret(t, "token", token))
		said = append(said, r.Summary, r.Report.JSON.Contents, r.Report.Markdown.Contents)
		if err != nil {
			said = append(said, err.Error())
		}
		return r, err
	}
	untouched := func() {
		t.Helper()
		if tip := git(t, remote.repository, "rev-parse", "main"); tip != head {
			t.Errorf("main of the Git remote is %s, want %s as before", tip, head)
		}
	}
	empty := func() {
		t.Helper()
		if _, err := os.Stat(filepath.Join(registry.storage, "docker/registry/v2/repositories/portal/_manifests/tags")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the registry holds an image: %v", err)
		}
	}

	_, err := try(password, "wrong-"+token)
	refused(t, err, "portal.git: the remote wants another credential")
	untouched()
	empty()

	_, err = try("wrong-"+password, token)
	refused(t, err, registry.address+"/portal: the registry wants another credential")
	untouched()
	empty()

	// An account that may write the image and not the chart.
	own := arguments
	arguments = strings.Replace(own, registry.address, withoutChart(t, registry), 1)
	_, err = try(password, token)
	refused(t, err, "/backstage: the registry wants another credential")
	if err != nil && !strings.Contains(err.Error(), "--publish-chart=false of release leaves it out: nothing was published, nothing was committed") {
		t.Errorf("it does not say what to do: %v", err)
	}
	untouched()
	empty()
	arguments = own

	hook := filepath.Join(remote.repository, "hooks/pre-receive")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho 'protected branch' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = try(password, token)
	refused(t, err, "is published, the same command continues from there")
	if err != nil && !strings.Contains(err.Error(), "## Published, but not committed") {
		t.Error("the error lacks the report of what was published")
	}
	untouched()
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}

	const toImage = `"PATCH /v2/portal/blobs/uploads/`
	uploads := registry.log.count(toImage)
	if uploads == 0 {
		t.Fatal("the registry's log knows no upload: it cannot tell whether the next release uploads again")
	}
	done, err := try(password, token)
	if err != nil {
		t.Fatal(err)
	}
	if done.Outcome != "released" || !strings.HasPrefix(done.Image, registry.address+"/portal@sha256:") {
		t.Errorf("it ended with %q and %s", done.Outcome, done.Image)
	}
	// The proof that it is a release is new, and nothing else.
	if again := registry.log.count(toImage); again != uploads+1 {
		t.Errorf("the release that continued uploaded %d times, want once", again-uploads)
	}
	if tip := git(t, remote.repository, "rev-parse", "main"); tip != done.Commit {
		t.Errorf("main of the Git remote is %s, want the release's commit %s", tip, done.Commit)
	}

	// The proof of the release is beside the image. Where it is not, as after a release that ended before it, the next one
	// makes it, and where it is, none.
	proof := done.document(t).ProofBundle
	if proof.Digest == "" || proof.Kept {
		t.Errorf("the report says of the proof %+v", proof)
	}
	there, err := try(password, token)
	if err != nil {
		t.Fatal(err)
	}
	if kept := there.document(t).ProofBundle; there.Outcome != "nothing-to-release" || !kept.Kept || kept.Digest != proof.Digest || !slices.Contains(there.Report.Entries, "release.proof.json") {
		t.Errorf("with the proof there it ended with %q, of the proof it says %+v, and the report is %q", there.Outcome, kept, there.Report.Entries)
	}
	detach(t, registry.storage, done.Image, proof.Digest)
	if there, err = try(password, token); err != nil {
		t.Fatal(err)
	}
	made := there.document(t).ProofBundle
	if there.Outcome != "nothing-to-release" || made.Kept || made.Digest == "" || made.Digest == proof.Digest || made.Verdict != proof.Verdict {
		t.Errorf("without the proof it ended with %q, and of the proof it says %+v, before %+v", there.Outcome, made, proof)
	}
	fetch := exec.CommandContext(t.Context(), "gitops", "proof", "fetch", done.Image, "--key", public, "--username", "somebody", "--unproven", "--out", filepath.Join(t.TempDir(), "proof.json"))
	fetch.Env = append(os.Environ(), "GITOPS_REGISTRY_PASSWORD="+password)
	if out, err := fetch.CombinedOutput(); err != nil || !strings.Contains(string(out), made.Digest) {
		t.Errorf("it fetches %s, %v", out, err)
	}

	// Another key: there is nothing to commit, and what that key has not signed it signs.
	other, otherPublic := keyPair(t, keyPassword)
	signing.Key = other
	resigned, err := try(password, token)
	if err != nil {
		t.Fatal(err)
	}
	if resigned.Outcome != "nothing-to-release" || resigned.Image != done.Image {
		t.Errorf("with another key it ended with %q and %s, want %s", resigned.Outcome, resigned.Image, done.Image)
	}
	if tip := git(t, remote.repository, "rev-parse", "main"); tip != done.Commit {
		t.Errorf("main of the Git remote went on from %s to %s", done.Commit, tip)
	}

	// The chart is beside the image, signed by both.
	chart := done.document(t).ChartArtifact
	if chart.Name != registry.address+"/backstage" || chart.Digest == "" || chart.SignedBy == "" {
		t.Errorf("the report says of the chart %+v", chart)
	}
	if again := resigned.document(t).ChartArtifact; again.Digest != chart.Digest || again.SignedBy == chart.SignedBy {
		t.Errorf("with another key the report says of the chart %+v, before %+v", again, chart)
	}
	for _, key := range []string{public, otherPublic} {
		verify := exec.CommandContext(t.Context(), "attest", "verify", chart.Name+"@"+chart.Digest, "--key", key, "--username", "somebody")
		verify.Env = append(os.Environ(), "GITOPS_REGISTRY_PASSWORD="+password)
		if out, err := verify.CombinedOutput(); err != nil {
			t.Errorf("the chart: %v\n%s", err, out)
		}
		verify = exec.CommandContext(t.Context(), "gitops", "verify-release", done.Image, "--key", key, "--username", "somebody")
		verify.Env = append(os.Environ(), "GITOPS_REGISTRY_PASSWORD="+password)
		out, err := verify.CombinedOutput()
		if err != nil {
			t.Errorf("the image: %v\n%s", err, out)
		}
		said = append(said, string(out))
	}

	verify := exec.CommandContext(t.Context(), "gitops", "verify-release", done.Image, "--key", public, "--username", "somebody", "--builder", "https://example.com")
	verify.Env = append(os.Environ(), "GITOPS_REGISTRY_PASSWORD="+password)
	if out, err := verify.CombinedOutput(); err == nil || !strings.Contains(string(out), "a provenance of another builder") {
		t.Errorf("of another builder it says %s, %v", out, err)
	}

	said = append(said, signed{done, registry, remote, password, token, private, keyPassword, chart.Version}.verifiedFirst(t)...)

	// No secret in what was said, pushed or published.
	said = append(said, registry.log.String(), remote.log.String(), git(t, remote.repository, "log", "-1", "-p", "main"))
	for _, secret := range []string{password, token, keyPassword, private, other} {
		for _, s := range said {
			if strings.Contains(s, secret) {
				t.Errorf("a secret is in this:\n%s", strings.ReplaceAll(s, secret, "CANARY"))
			}
		}
		for _, dir := range []string{registry.storage, remote.repository} {
			holds(t, dir, secret)
		}
	}
}

// detach has a registry's storage list what is attached to an image as it was before a digest was: this registry has the list
// under a tag.
func detach(t *testing.T, storage, image, digest string) {
	t.Helper()
	root := filepath.Join(storage, "docker/registry/v2")
	_, sum, _ := strings.Cut(image, "@sha256:")
	tag := filepath.Join(root, "repositories/portal/_manifests/tags/sha256-"+sum)
	lists, err := os.ReadDir(filepath.Join(tag, "index/sha256"))
	if err != nil {
		t.Fatal(err)
	}
	before, most := "", 0
	for _, list := range lists {
		text, err := os.ReadFile(filepath.Join(root, "blobs/sha256", list.Name()[:2], list.Name(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte(`"digest":`)); n > most && !bytes.Contains(text, []byte(digest)) {
			before, most = list.Name(), n
		}
	}
	if before == "" {
		t.Fatalf("there was no list without %s", digest)
	}
	if err := os.WriteFile(filepath.Join(tag, "current/link"), []byte("sha256:"+before), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keyPair makes a signing key, and the file of its public half.
func keyPair(t *testing.T, password string) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "attest", "generate-key-pair")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GITOPS_SIGNING_PASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cosign.key"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), filepath.Join(dir, "cosign.pub")
}

// holds fails the test where a file below a folder holds a text.
func holds(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			t.Errorf("a secret is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// server is a program that serves on this machine.
type server struct {
	// address is where the module's containers reach it.
	address string
	log     *logbook
	// storage is the registry's folder, repository that of the Git remote.
	storage, repository string
}

// startRegistry runs a registry that wants a user and a password.
func startRegistry(t *testing.T, user, password string) server {
	t.Helper()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	storage := filepath.Join(dir, "storage")
	config := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: false}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\nauth: {htpasswd: {realm: test, path: %s}}\n",
		storage, address, filepath.Join(dir, "htpasswd"))
	for name, content := range map[string]string{"config.yml": config, "htpasswd": user + ":" + string(hash) + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := server{address: address, storage: storage}
	s.log = start(t, "http://"+address+"/v2/", nil, "registry", "serve", filepath.Join(dir, "config.yml"))
	return s
}

// withoutChart is the address of a proxy before a registry that refuses what is to be written to the chart's repository.
func withoutChart(t *testing.T, registry server) string {
	t.Helper()
	all := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry.address})
	l, err := net.Listen("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/backstage/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
			return
		}
		all.ServeHTTP(w, r)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// startGit runs the Git server that is embedded otherwise, with one repository and a token.
func startGit(t *testing.T, token string) server {
	t.Helper()
	root, address := t.TempDir(), freeAddress(t)
	s := server{address: address, repository: filepath.Join(root, "portal.git")}
	s.log = start(t, "http://"+address+"/healthz", []string{"GITOPS_TOKEN=" + token},
		"gitops", "serve-git", "--root", root, "--create", "portal.git", "--listen", address)
	return s
}

// start runs a program until the test ends, and waits until it answers.
func start(t *testing.T, url string, env []string, name string, args ...string) *logbook {
	t.Helper()
	log := &logbook{}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, log)
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := http.Get(url)
		if err == nil {
			response.Body.Close()
			return log
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v\n%s", name, err, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// freeAddress is a free port at an address of this machine that other containers reach.
func freeAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || network.IP.IsLoopback() || network.IP.To4() == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(network.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("this machine has no address but its loopback")
	return ""
}

// logbook keeps what a program writes.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) count(text string) int { return strings.Count(l.String(), text) }
