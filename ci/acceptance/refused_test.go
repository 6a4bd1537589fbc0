package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be released is refused by one sentence that says what to do, before anything is done.
func TestRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		checkout func(t *testing.T) string
		source   func(t *testing.T) string
		args     string
		want     string
	}{
		"not a Git checkout": {
			checkout: func(t *testing.T) string {
				dir := checkout(t)
				if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
					t.Fatal(err)
				}
				return dir
			},
			want: "not a Git checkout",
		},
		"no commit": {
			checkout: func(t *testing.T) string {
				dir := checkout(t)
				if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
					t.Fatal(err)
				}
				git(t, dir, "init", "--quiet")
				return dir
			},
			want: "no commit yet",
		},
		"uncommitted changes": {
			checkout: func(t *testing.T) string {
				dir := checkout(t)
				edit(t, dir, "README.md", "#", "##")
				return dir
			},
			want: "uncommitted changes in README.md; a release is of HEAD",
		},
		"chart without image.tag": {
			checkout: func(t *testing.T) string {
				dir := checkout(t)
				edit(t, dir, "charts/backstage/values.yaml", "\n  tag:", "\n  label:")
				commit(t, dir)
				return dir
			},
			want: "image.tag",
		},
		"no Backstage app in the checkout": {
			checkout: func(t *testing.T) string {
				dir := checkout(t)
				git(t, dir, "rm", "-r", "--quiet", "backstage/packages/backend")
				commit(t, dir)
				return dir
			},
			want: "no Backstage app",
		},
		"no Backstage app at --source": {
			source: func(t *testing.T) string { return t.TempDir() },
			want:   "no Backstage app at --source",
		},
		"tag that is none": {
			args: `tag: "v 1"`,
			want: `invalid image tag "v 1"`,
		},
		"image that is none": {
			args: `image: "docker.io/UPPER/case", allowUnsigned: true`,
			want: `docker.io/UPPER/case`,
		},
		"image with a tag of its own": {
			args: `image: "docker.io/user/name:latest", allowUnsigned: true`,
			want: `docker.io/user/name:latest`,
		},
		"nothing that signs": {
			args: `image: "docker.io/user/name"`,
			want: "nothing signs the image docker.io/user/name: make a key with cosign generate-key-pair or attest generate-key-pair and give it as --signing-key",
		},
		"pull request without one": {
			args: `autoMerge: "squash"`,
			want: "--auto-merge want --commit-by pull-request",
		},
		"user without password": {
			args: `username: "somebody"`,
			want: "--username and --password go together",
		},
		"platform that is none": {
			args: `platforms: ["linux/amd64", "arm64"]`,
			want: `"arm64" is none of linux/amd64, linux/arm/v7, linux/arm64`,
		},
		"platform of another operating system": {
			args: `platforms: ["windows/amd64"]`,
			want: `"windows/amd64" is none of linux/amd64`,
		},
		"one platform twice": {
			args: `platforms: ["linux/amd64", "linux/x86_64"]`,
			want: "linux/amd64 is asked for twice",
		},
		"nothing to prove on the engine's platform": {
			args: `verify: true, platforms: ["linux/riscv64"]`,
			want: "this engine's own platform, which is not among linux/riscv64; add it, or leave the proof out with --verify=false",
		},
		// There is no official image of Node for it, so no engine can pull it.
		"platform that cannot be pulled": {
			args: `platforms: ["linux/riscv64"]`,
			want: "linux/riscv64: its base images are ",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := module{Ephemeral: true}
			if c.checkout != nil {
				m.Checkout = c.checkout(t)
			}
			if c.source != nil {
				m.Source = c.source(t)
			}
			_, err := release(t, m, c.args)
			refused(t, err, c.want)
		})
	}
}

// What would sign is whole and fits, or it is refused before there is an image: taken for nothing at all, it would leave a
// release unsigned.
func TestSigningRefused(t *testing.T) {
	t.Parallel()
	const password = "acceptance-signing-password"
	private, _ := keyPair(t, password)
	for name, c := range map[string]struct {
		module module
		want   string
	}{
		"a password without a key":    {module{KeyPassword: password}, "--signing-password is given without --signing-key"},
		"an address without a token":  {module{OidcURL: "http://127.0.0.1:1"}, "--oidc-url and --oidc-token go together"},
		"a token without an address":  {module{OidcToken: "token"}, "--oidc-url and --oidc-token go together"},
		"a key and a job":             {module{Key: private, KeyPassword: password, OidcURL: "http://127.0.0.1:1", OidcToken: "token"}, "more than one thing to sign with"},
		"a public log without a key":  {module{Settings: "transparencyLog: true"}, "--transparency-log is for the signatures of --signing-key"},
		"an empty key":                {module{Key: "\n", KeyPassword: password}, "the signing key, is given but empty"},
		"a key without its password":  {module{Key: private}, "the password does not open the key"},
		"a key with another password": {module{Key: private, KeyPassword: "another"}, "the password does not open the key"},
		"something else than a key":   {module{Key: "no key", KeyPassword: password}, "the key cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.module.Ephemeral = true
			_, err := release(t, c.module, "")
			refused(t, err, c.want)
			for _, text := range []string{password, private, "Build the image"} {
				if err != nil && strings.Contains(err.Error(), text) {
					t.Errorf("it says %q", text)
				}
			}
		})
	}
}

// What cannot be verified is refused, and never taken for something else that can.
func TestVerifyRefused(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		settings, args, want string
	}{
		"no digest":                  {"", `image: "localhost:5000/backstage-gitops:main"`, "name it by its digest"},
		"another name":               {"", fmt.Sprintf("image: %q", "localhost:5000/other"+digest), "the embedded registry's image is localhost:5000/backstage-gitops"},
		"a longer name":              {"", fmt.Sprintf("image: %q", "localhost:5000/backstage-gitops-chart"+digest), "the embedded registry's image is localhost:5000/backstage-gitops"},
		"no such image":              {"", fmt.Sprintf("image: %q", "localhost:5000/backstage-gitops:main"+digest), "the registry has no such image"},
		"nobody's":                   {"", fmt.Sprintf("image: %q", "docker.io/user/app"+digest), "say whose signature it has to be"},
		"a public log without a key": {"transparencyLog: true", fmt.Sprintf("image: %q", "localhost:5000/backstage-gitops"+digest), "--transparency-log is for the signatures of --signing-key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verify(t, module{Ephemeral: true, Settings: c.settings}, "("+c.args+")")
			refused(t, err, c.want)
		})
	}
}

// An app of its own has tag and revision of its own Git repository, and without one is not released.
func TestAppOfItsOwn(t *testing.T) {
	t.Parallel()
	m := module{Source: filepath.Join(t.TempDir(), "app"), Ephemeral: true}
	if err := os.CopyFS(m.Source, os.DirFS(filepath.Join(checkout(t), "backstage"))); err != nil {
		t.Fatal(err)
	}
	_, err := release(t, m, "")
	refused(t, err, "the app at --source is no Git checkout")

	git(t, m.Source, "init", "--quiet", "--initial-branch", "portal")
	git(t, m.Source, "add", ".")
	commit(t, m.Source)
	// A report tells of them; it is that of a release which ends before it builds.
	_, err = release(t, m, `image: "not/AN/image", allowUnsigned: true`)
	refused(t, err, "not/AN/image")
	if tag := "portal-" + git(t, m.Source, "rev-parse", "HEAD")[:12]; err != nil && !strings.Contains(err.Error(), tag) {
		t.Errorf("the report does not name the tag %s", tag)
	}

	edit(t, m.Source, "app-config.yaml", "Backstage", "Portal")
	_, err = release(t, m, "")
	refused(t, err, "the app's own checkout: uncommitted changes in app-config.yaml")
}

// A lockfile that does not match is refused by whoever installs.
func TestLockfileDoesNotMatch(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	edit(t, dir, "backstage/packages/backend/package.json", "    \"@backstage/types\": \"^1.2.2\",\n", "")
	commit(t, dir)
	// Not a release: that would put this commit into the Git remote of the others.
	_, err := call[struct{ Publish string }](t, module{Checkout: dir, Ephemeral: true}, "publish")
	refused(t, err, "yarn.lock does not match the package.json files: run yarn install in the app and commit yarn.lock")
}

// refused wants an error of one sentence that holds a text, and after it nothing but the report.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("it was not refused")
	}
	said, report, _ := strings.Cut(err.Error(), "\n")
	if !strings.Contains(said, want) {
		t.Errorf("the sentence does not say %q", want)
	}
	if report = strings.TrimSpace(report); report != "" && !strings.HasPrefix(report, "## ") {
		t.Errorf("after the sentence comes something else than the report")
	}
	t.Log(err)
}
