package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dagger.io/dagger"
)

// signed is a release to targets of somebody's own, signed with a key.
type signed struct {
	released
	registry, remote server
	password, token  string
	key, keyPassword string
	// chartVersion is that of the chart that was published with it.
	chartVersion string
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

	// A release of another image, to take back: it has taken the tags that move, and has one for good.
	archive := filepath.Join(t.TempDir(), "another.tar")
	if _, err := client.Container().WithNewFile("/another", "1").AsTarball(dagger.ContainerAsTarballOpts{MediaTypes: dagger.ImageMediaTypesOcimediaTypes}).Export(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	gitops := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "gitops", args...)
		cmd.Env = append(os.Environ(), "GITOPS_TOKEN="+s.token, "GITOPS_REGISTRY_PASSWORD="+s.password)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	moving := []string{"latest", "main"}
	digestOf := func(tag string) string {
		t.Helper()
		return digestIn.FindString(gitops("image", "inspect", s.registry.address+"/portal:"+tag, "--username", "somebody"))
	}
	taken := func() string {
		t.Helper()
		return digestIn.FindString(gitops("image", "publish", s.registry.address+"/portal:9.9.9", "--archive", archive, "--created", "2026-11-23T12:00:00Z",
			"--also-tag", "latest", "--also-tag", "main", "--username", "somebody"))
	}
	another := func() (tip string) {
		t.Helper()
		git(t, clone, "pull", "--quiet")
		gitops("push", "--repo", clone, "--remote", address, "--tag", "9.9.9", "--digest", taken())
		return git(t, s.remote.repository, "rev-parse", "main")
	}
	rollback := func(t *testing.T, key, arguments string) (string, error) {
		got, err := call[struct{ Rollback string }](t, module{Checkout: clone, Key: key, KeyPassword: s.passwordOf(key)},
			fmt.Sprintf(`rollback(verify: false, remote: %q, token: $token, %s%s)`, address, target, arguments), secret(t, "password", s.password), secret(t, "token", s.token))
		said = append(said, got.Rollback)
		return got.Rollback, err
	}
	tip := another()
	for name, key := range map[string]string{"by another key": stranger, "by nobody": ""} {
		t.Run("gone back to "+name, func(t *testing.T) {
			_, err := rollback(t, key, "")
			refused(t, err, "--allow-unverified takes it without: nothing was committed")
			said = append(said, err.Error())
			if now := git(t, s.remote.repository, "rev-parse", "main"); now != tip {
				t.Errorf("main went on from %s to %s", tip, now)
			}
		})
	}
	for name, c := range map[string]struct{ key, arguments, want string }{
		"by its key":    {s.key, "", "### Verified " + s.Image},
		"whoever it is": {"", ", allowUnverified: true", "The signature of the image was not looked at: --allow-unverified said so"},
	} {
		t.Run("gone back to "+name, func(t *testing.T) {
			text, err := rollback(t, c.key, c.arguments)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, c.want) || !strings.Contains(text, digest) {
				t.Errorf("it does not say %q:\n%s", c.want, text)
			}
			if values := git(t, s.remote.repository, "show", "main:charts/backstage/values.yaml"); !strings.Contains(values, digest) {
				t.Errorf("the chart does not name %s:\n%s", digest, values)
			}
			if want := "| Tags given back | `latest`, `main` |"; !strings.Contains(text, want) || !strings.Contains(text, "| Chart in the registry | version `"+s.chartVersion+"` names this image") {
				t.Errorf("it does not say %q, or which chart it is:\n%s", want, text)
			}
			for _, tag := range moving {
				if now := digestOf(tag); now != digest {
					t.Errorf("%s is %s, want %s", tag, now, digest)
				}
			}
			if now := digestOf("9.9.9"); now == digest {
				t.Error("the tag of what was taken back is that of another image now")
			}
		})
		if t.Failed() {
			return said
		}
		another()
	}

	// One that ended before the tags: the next call gives them back and takes nothing else back.
	if _, err := rollback(t, s.key, ""); err != nil {
		t.Fatal(err)
	}
	tip = git(t, s.remote.repository, "rev-parse", "main")
	taken()
	t.Run("gone back to after an interruption", func(t *testing.T) {
		text, err := rollback(t, s.key, "")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "## Finished the rollback to ") || !strings.Contains(text, "| Tags given back | `latest`, `main` |") || digestOf("main") != digest {
			t.Errorf("it does not give the tags back:\n%s", text)
		}
		if now := git(t, s.remote.repository, "rev-parse", "main"); now != tip {
			t.Errorf("main went on from %s to %s", tip, now)
		}
		_, err = rollback(t, s.key, "")
		refused(t, err, "there is no release before the last one")
	})
	return said
}

// digestIn finds the first digest of a text.
var digestIn = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// passwordOf is that of a key, nothing where there is none.
func (s signed) passwordOf(key string) string {
	if key == "" {
		return ""
	}
	return s.keyPassword
}
