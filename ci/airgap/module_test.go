package airgap

import (
	"slices"
	"strings"
	"testing"
)

func TestFolderEdits(t *testing.T) {
	t.Parallel()
	const mod = `{"Replace": [
		{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
		{"Old": {"Path": "go.etcd.io/etcd/api/v3"}, "New": {"Path": "../api"}},
		{"Old": {"Path": "example.com/there"}, "New": {"Path": "./there"}},
		{"Old": {"Path": "gopkg.in/yaml.v2"}, "New": {"Path": "gopkg.in/yaml.v2", "Version": "v2.4.0"}}
	]}`
	src := t.TempDir()
	if err := writeTexts(src, map[string]string{"there/go.mod": "module example.com/there\n"}); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		mod, version string
		want         []string
		wantErr      bool
	}{
		"at a version":              {mod, "v0.37.0", []string{"-replace=k8s.io/api=k8s.io/api@v0.37.0", "-replace=go.etcd.io/etcd/api/v3=go.etcd.io/etcd/api/v3@v0.37.0"}, false},
		"at the required version":   {mod, "", []string{"-dropreplace=k8s.io/api", "-dropreplace=go.etcd.io/etcd/api/v3"}, false},
		"nothing is replaced":       {`{"Module": {"Path": "m"}}`, "v1.0.0", nil, false},
		"no answer of go mod edit":  {"", "", nil, true},
		"only versions by versions": {`{"Replace": [{"Old": {"Path": "a"}, "New": {"Path": "b", "Version": "v1.0.0"}}]}`, "v1.0.0", nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := folderEdits([]byte(c.mod), src, c.version)
			if (err != nil) != c.wantErr || !slices.Equal(got, c.want) {
				t.Errorf("edits are %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestModuleBuildInputs: whatever a build takes decides its part's key.
func TestModuleBuildInputs(t *testing.T) {
	t.Parallel()
	whole := func() moduleBuild {
		return moduleBuild{path: "p", version: "v1", modFile: "f", folders: "v2", stamps: []string{"s"}, tags: "t u", packages: []string{"./c"}, files: []string{"x"}, edits: []string{"-e"}, add: map[string]string{"a": "b"}, patches: []patch{{"a", "b", "c"}}}
	}
	edits := map[string]func(*moduleBuild){
		"path": func(m *moduleBuild) { m.path = "q" }, "version": func(m *moduleBuild) { m.version = "v9" },
		"modFile": func(m *moduleBuild) { m.modFile = "" }, "folders": func(m *moduleBuild) { m.folders = "" },
		"stamps": func(m *moduleBuild) { m.stamps = []string{"t"} }, "tags": func(m *moduleBuild) { m.tags = "" }, "packages": func(m *moduleBuild) { m.packages = append(m.packages, "./d") },
		"edits": func(m *moduleBuild) { m.edits = nil }, "add": func(m *moduleBuild) { m.add = map[string]string{"a": "c"} },
		"drop":  func(m *moduleBuild) { m.patches = nil },
		"files": func(m *moduleBuild) { m.files = nil },
	}
	key := whole().part("part").Key()
	for name, edit := range edits {
		m := whole()
		edit(&m)
		if m.part("part").Key() == key {
			t.Errorf("another %s is the same part", name)
		}
	}
	argv := whole().argv("/out/bin")
	if got := strings.Join(argv, " "); got != "go build -trimpath -ldflags -s -w -X s -o /out/bin/ -tags t u ./c" {
		t.Errorf("it runs %s", got)
	}
	files := moduleBuild{path: "p", files: []string{"x"}}.part("files")
	if files.Compiles || !whole().part("part").Compiles {
		t.Error("only what is compiled takes its turn among compilations")
	}
}
