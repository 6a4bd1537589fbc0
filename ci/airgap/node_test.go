package airgap

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithKindHook(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ spec, want, wantErr string }{
		"no hooks yet": {
			`{"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_NOFILE"}]}}`,
			`{"hooks":{"createContainer":[{"path":"/kind/bin/mount-product-files.sh"}]},"process":{"cwd":"/"}}`, "",
		},
		"after other hooks": {
			`{"process": {}, "hooks": {"poststop": [], "createContainer": [{"path": "/first"}]}}`,
			`{"hooks":{"createContainer":[{"path":"/first"},{"path":"/kind/bin/mount-product-files.sh"}],"poststop":[]},"process":{}}`, "",
		},
		"no process": {`{}`, "", "there is no process"},
		"no JSON":    {`usage: ctr`, "", "ctr oci spec"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := withKindHook([]byte(c.spec))
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Errorf("error is %v, want %q", err, c.wantErr)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("specification is %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

// TestNodeTexts: what the node reads is what its reader can read.
func TestNodeTexts(t *testing.T) {
	t.Parallel()
	var list struct{ Plugins []struct{ Type string } }
	if err := json.Unmarshal([]byte(nodeCNI), &list); err != nil || len(list.Plugins) != 2 {
		t.Errorf("the list of plugins is %+v, %v", list, err)
	}
	if strings.Contains(nodeDefaultCNI, "would you kindly") {
		t.Error("kind would take the CNI manifest for its own template")
	}
	if got := stagingVersion("v1.37.2"); got != "v0.37.2" {
		t.Errorf("Kubernetes v1.37.2 is made of %s", got)
	}
}

// TestScripts: the scripts of the images are ones that a plain shell can read.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("images/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	for _, script := range scripts {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

// TestRootfsHooks: mmdebstrap skips hooks at the wrong stage without a word,
// and what was made without them must not be taken for what is made with them.
func TestRootfsHooks(t *testing.T) {
	t.Parallel()
	for variant, want := range map[string]string{"minbase": "customize", "extract": "extract"} {
		if got := hookStage(variant); got != want {
			t.Errorf("hooks of %s run at stage %s, want %s", variant, got, want)
		}
	}
	tools := debianTools()
	for variant, want := range map[string][]string{
		"minbase": {suite, "minbase", "package", "hook"},
		"extract": {suite, "extract", "package", "extract", "hook"},
	} {
		if got := rootfs("root", tools, variant, []string{"package"}, "hook").Inputs; !slices.Equal(got, want) {
			t.Errorf("inputs of %s are %q, want %q", variant, got, want)
		}
	}
	if got := rootfs("root", tools, "extract", []string{"package"}).Inputs; !slices.Equal(got, []string{suite, "extract", "package"}) {
		t.Errorf("inputs without hooks are %q", got)
	}
}
