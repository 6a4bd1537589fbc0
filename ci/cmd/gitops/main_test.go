package main

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

var update = flag.Bool("update", false, "rewrite the golden texts of testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gitops": main})
}

// TestScripts runs the program as its users do: one file of testdata/script per command.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
				"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z", "GIT_CONFIG_NOSYSTEM": "1", "TMPDIR": env.WorkDir + "/.tmp",
				"DIGEST": "sha256:" + strings.Repeat("0123456789abcdef", 4),
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"remote":   serveRemote,
			"registry": serveRegistry,
			"checkout": makeCheckout,
			"github":   serveGitHub,
			"archive":  writeArchive,
			"silent":   serveSilence,
		},
	})
}

// TestDaggerModuleKnowsExitCodes: the Dagger module imports nothing of here, and proves a commit again if the exit code
// of a push says that the branch has moved.
func TestDaggerModuleKnowsExitCodes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../.dagger/toolbox.go")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("const moved = %d\n", exitMoved); !strings.Contains(string(text), want) {
		t.Errorf(".dagger/toolbox.go has no %q", want)
	}
}

// serveRemote is `remote NAME [TOKEN]`: a Git server with one empty repository; $NAME is its URL, $NAME_DIR its folder.
func serveRemote(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: remote NAME [TOKEN]")
	}
	root := ts.MkAbs("." + args[0])
	c := gitserver.Config{Root: root, Create: []string{"a.git"}}
	if len(args) == 2 {
		c.Token = args[1]
	}
	h, err := gitserver.New(context.Background(), c)
	ts.Check(err)
	s := httptest.NewServer(h)
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL+"/a.git")
	ts.Setenv(args[0]+"_DIR", root+"/a.git")
}

// serveGitHub is `github NAME TOKEN [PROTECTED [PERMISSION=LEVEL]…]`: a GitHub with one empty repository, for the token of
// a workflow, which may do all that a release wants unless permissions are given, and maybe a protected branch; $NAME is the repository's URL, $NAME_DIR its folder, and $NAME_KEY the key of the App 7 with
// the installation 9.
func serveGitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: github NAME TOKEN [PROTECTED [PERMISSION=LEVEL]…]")
	}
	permissions := map[string]string{"contents": "write", "pull_requests": "write"}
	if len(args) > 3 {
		clear(permissions)
		for _, p := range args[3:] {
			name, level, _ := strings.Cut(p, "=")
			permissions[name] = level
		}
	}
	c := githubtest.Config{
		Root: ts.MkAbs("." + args[0]), Repositories: []string{"acme/portal"}, AutoMerge: true,
		Tokens: []githubtest.Token{{Value: args[1], Login: "github-actions[bot]", Bot: true, Permissions: permissions}},
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	c.Apps = []githubtest.App{{ID: 7, Installation: 9, Key: &private.PublicKey, Permissions: c.Tokens[0].Permissions}}
	ts.Setenv(args[0]+"_KEY", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})))
	if len(args) > 2 && args[2] != "" {
		c.Protected = map[string]string{args[2]: "Changes must be made through a pull request."}
	}
	h, err := githubtest.New(context.Background(), c)
	ts.Check(err)
	s := httptest.NewServer(h)
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL+"/acme/portal.git")
	ts.Setenv(args[0]+"_DIR", h.Dir("acme/portal"))
}

// serveRegistry is `registry NAME [REPOSITORY]`: a registry with the image app:1, and maybe a repository that it takes no
// push to; $NAME is its address, $NAME_DIGEST the image's digest.
func serveRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: registry NAME [REPOSITORY]")
	}
	all := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(args) == 2 && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v2/"+args[1]+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
			return
		}
		all.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	img, err := random.Image(1000, 2)
	ts.Check(err)
	tag, err := name.NewTag(host + "/app:1")
	ts.Check(err)
	ts.Check(remote.Write(tag, img))
	digest, err := img.Digest()
	ts.Check(err)
	ts.Setenv(args[0], host)
	ts.Setenv(args[0]+"_DIGEST", digest.String())
}

// writeArchive is `archive FILE`: an OCI archive of an image like no other.
func writeArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: archive FILE")
	}
	img, err := random.Image(1000, 2)
	ts.Check(err)
	file := ts.MkAbs(args[0])
	dir := file + ".layout"
	index, err := layout.Write(dir, empty.Index)
	ts.Check(err)
	ts.Check(index.AppendImage(img))
	out, err := os.Create(file)
	ts.Check(err)
	w := tar.NewWriter(out)
	ts.Check(w.AddFS(os.DirFS(dir)))
	ts.Check(errors.Join(w.Close(), out.Close()))
}

// makeCheckout is `checkout DIR`: a checkout with a Backstage app and its chart in one commit.
func makeCheckout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: checkout DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(dir, os.DirFS("testdata/project")))
	for _, call := range [][]string{{"init", "-q", "-b", "main", dir}, {"-C", dir, "add", "-A"}, {"-C", dir, "commit", "-q", "-m", "feat: start"}} {
		ts.Check(ts.Exec("git", call...))
	}
}

// serveSilence is `silent NAME`: a server that takes connections and never answers; $NAME is its URL.
func serveSilence(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: silent NAME")
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], "http://"+l.Addr().String()+"/a.git")
}
