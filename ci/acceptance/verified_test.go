package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// signed is a release to targets of somebody's own, signed with a key.
type signed struct {
	released
	registry, remote server
	password, token  string
	key, keyPassword string
}

// verifiedFirst promotes the release, and goes back to it: only where its signature is the one that it has to be, or
// somebody takes it without. It returns all that was said.
func (s signed) verifiedFirst(t *testing.T) (said []string) {
	t.Helper()
	address := "http://" + s.remote.address + "/portal.git"
	target := fmt.Sprintf(`image: %q, username: "somebody", password: $password`, s.registry.address+"/portal")
	stranger, _ := keyPair(t, s.keyPassword)
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, ".", "clone", "--quiet", s.remote.repository, clone)
	digest := s.Image[strings.Index(s.Image, "@")+1:]

	for name, c := range map[string]struct {
		key, arguments, refused string
	}{
		"by its key":       {key: s.key},
		"by another key":   {key: stranger, refused: "--allow-unverified takes it without: nothing was promoted"},
		"by nobody":        {refused: "say whose signature it has to be: --key, --identity or --signing-key"},
		"whoever it is":    {arguments: ", allowUnverified: true"},
		"no such workflow": {arguments: `, identity: "https://github.com/acme/portal"`, refused: "is no workflow: give https://github.com/OWNER/REPO/.github/workflows/FILE.yml"},
	} {
		t.Run("promoted "+name, func(t *testing.T) {
			got, err := call[struct {
				Promote struct{ ModifiedPaths []string }
			}](t, module{Checkout: clone, Key: c.key, KeyPassword: s.passwordOf(c.key)},
				`promote(from: "dev", to: "staging", allowUnproven: true, `+target+c.arguments+`) { modifiedPaths }`, secret(t, "password", s.password))
			if c.refused != "" {
				refused(t, err, c.refused)
				said = append(said, err.Error())
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if paths := got.Promote.ModifiedPaths; len(paths) != 1 || paths[0] != "charts/gitops/environments/staging.yaml" {
				t.Errorf("it changes %q", paths)
			}
		})
	}

	// A release of another image, to take back.
	another := func() (tip string) {
		t.Helper()
		git(t, clone, "pull", "--quiet")
		push := exec.CommandContext(t.Context(), "gitops", "push", "--repo", clone, "--remote", address, "--tag", "9.9.9", "--digest", "sha256:"+strings.Repeat("9", 64))
		push.Env = append(os.Environ(), "GITOPS_TOKEN="+s.token)
		if out, err := push.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return git(t, s.remote.repository, "rev-parse", "main")
	}
	rollback := func(t *testing.T, key string) (string, error) {
		got, err := call[struct{ Rollback string }](t, module{Checkout: clone, Key: key, KeyPassword: s.passwordOf(key)},
			fmt.Sprintf(`rollback(verify: false, remote: %q, token: $token, %s)`, address, target), secret(t, "password", s.password), secret(t, "token", s.token))
		said = append(said, got.Rollback)
		return got.Rollback, err
	}
	tip := another()
	t.Run("gone back to by another key", func(t *testing.T) {
		_, err := rollback(t, stranger)
		refused(t, err, "--allow-unverified takes it without: nothing was committed")
		said = append(said, err.Error())
		if now := git(t, s.remote.repository, "rev-parse", "main"); now != tip {
			t.Errorf("main went on from %s to %s", tip, now)
		}
	})
	for name, c := range map[string]struct{ key, want string }{
		"by its key": {s.key, "### Verified " + s.Image},
		"by nobody":  {"", "The signature of the image was not looked at: nobody said whose it has to be"},
	} {
		t.Run("gone back to "+name, func(t *testing.T) {
			text, err := rollback(t, c.key)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, c.want) || !strings.Contains(text, digest) {
				t.Errorf("it does not say %q:\n%s", c.want, text)
			}
			if values := git(t, s.remote.repository, "show", "main:charts/backstage/values.yaml"); !strings.Contains(values, digest) {
				t.Errorf("the chart does not name %s:\n%s", digest, values)
			}
		})
		another()
	}
	return said
}

// passwordOf is that of a key, nothing where there is none.
func (s signed) passwordOf(key string) string {
	if key == "" {
		return ""
	}
	return s.keyPassword
}
