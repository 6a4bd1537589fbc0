package airgap

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checkout is the root of the repository, seen from this folder.
const checkout = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(checkout, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPins(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range Pins {
		if p.What == "" || p.Version == "" || p.Source == "" || p.Why == "" {
			t.Errorf("a column of %+v is empty", p)
		}
		if seen[p.What] {
			t.Errorf("%s is pinned twice", p.What)
		}
		seen[p.What] = true
		if p.Version == "latest" || strings.ContainsAny(p.Version, "^~*") {
			t.Errorf("%s %s is no exact version", p.What, p.Version)
		}
	}
	var table strings.Builder
	if err := WritePins(&table); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(table.String(), "\n"); lines != len(Pins)+1 {
		t.Errorf("the table has %d lines for %d pins", lines, len(Pins))
	}
	defer func() {
		if recover() == nil {
			t.Error("a thing without a pin has one")
		}
	}()
	pinned("nothing")
}

// TestOneDagger: module, wrapper and supply mean the same Dagger.
func TestOneDagger(t *testing.T) {
	t.Parallel()
	var module struct{ EngineVersion string }
	if err := json.Unmarshal([]byte(read(t, "dagger.json")), &module); err != nil {
		t.Fatal(err)
	}
	version := pinned("dagger").Version
	if module.EngineVersion != version {
		t.Errorf("dagger.json names engine %s, the pin is %s", module.EngineVersion, version)
	}
	found := regexp.MustCompile(`(?m)^version=(.*)$`).FindStringSubmatch(read(t, "daggerw"))
	if found == nil || "v"+found[1] != version {
		t.Errorf("daggerw says %q, the pin is %s", found, version)
	}
}

// TestOneDistribution: the registry's module and the pin mean the same one.
func TestOneDistribution(t *testing.T) {
	t.Parallel()
	want := "github.com/distribution/distribution/v3 " + pinned("distribution").Version
	if !strings.Contains(read(t, "ci/airgap/registry/go.mod"), want+"\n") {
		t.Errorf("the registry's go.mod does not require %s", want)
	}
}

// TestOneCollector: the collector's module and the pin mean the same one.
func TestOneCollector(t *testing.T) {
	t.Parallel()
	want := "go.opentelemetry.io/collector/otelcol " + pinned("collector").Version
	if !strings.Contains(read(t, "ci/airgap/collector/go.mod"), want+"\n") {
		t.Errorf("the collector's go.mod does not require %s", want)
	}
}

// TestOneRclone: the chart's values and the pin mean the same one.
func TestOneRclone(t *testing.T) {
	t.Parallel()
	image := regexp.MustCompile(`repository: docker.io/rclone/rclone\n.*\n +tag: (.*)\n`).FindStringSubmatch(read(t, "charts/backstage/values.yaml"))
	if image == nil || "v"+image[1] != pinned("rclone").Version {
		t.Errorf("the chart has rclone %q, the pin is %s", image, pinned("rclone").Version)
	}
}

// TestOneKubernetes: functions take the version as a default, which Dagger reads from a comment.
func TestOneKubernetes(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`kubernetesVersion = "(v[0-9.]+)"`).FindStringSubmatch(read(t, ".dagger/versions.go"))
	if pinned == nil {
		t.Fatal(".dagger/versions.go has no kubernetesVersion")
	}
	for _, file := range []string{".dagger/e2e.go", ".dagger/cluster.go", "ci/kind/main.go"} {
		defaults := regexp.MustCompile(`// \+default="(v[0-9.]+)"`).FindAllStringSubmatch(read(t, file), -1)
		if len(defaults) != 1 || defaults[0][1] != pinned[1] {
			t.Errorf("%s has the defaults %q, want %s once", file, defaults, pinned[1])
		}
	}
}

// TestMirrorServesVersions: the core is exactly what .dagger/bases.go and
// .dagger/versions.go name less what the sets have, so that nothing is built for
// nobody.
func TestMirrorServesVersions(t *testing.T) {
	t.Parallel()
	var decls []ast.Decl
	for _, file := range []string{".dagger/bases.go", ".dagger/versions.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, read(t, file), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		decls = append(decls, parsed.Decls...)
	}
	var named []string
	for _, d := range decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, spec := range decl.Specs {
			value := spec.(*ast.ValueSpec)
			if !strings.HasSuffix(value.Names[0].Name, "Image") {
				continue
			}
			ref, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			named = append(named, ref)
		}
	}
	s, err := newSupply(t.Context(), checkout)
	if err != nil {
		t.Fatal(err)
	}
	all := s.images(s.sets())
	for _, ref := range named {
		if all[ref] == nil {
			t.Errorf(".dagger names %s, the mirror serves\n%s", ref, strings.Join(sortedKeys(all), "\n"))
		}
	}
	for _, ref := range sortedKeys(s.images([]string{coreSet})) {
		if !slices.Contains(named, ref) {
			t.Errorf("the mirror always serves %s, .dagger names\n%s", ref, strings.Join(named, "\n"))
		}
	}
}

// TestSupplyParts: names are folders and log files, and keys decide what is
// built, so both must be there, and no two parts may share them.
func TestSupplyParts(t *testing.T) {
	t.Parallel()
	s, err := newSupply(t.Context(), checkout)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newSupply(t.Context(), checkout)
	if err != nil {
		t.Fatal(err)
	}
	if s.key() != again.key() {
		t.Error("two descriptions of one supply have different keys")
	}
	seen := map[string]bool{}
	for _, p := range closure(s.parts(s.sets())) {
		if !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(p.Name) || seen[p.Name] {
			t.Errorf("%q is no name of one part", p.Name)
		}
		seen[p.Name] = true
		if p.Build == nil {
			t.Errorf("nothing builds %s", p.Name)
		}
		if len(p.Inputs) == 0 {
			t.Errorf("%s has no inputs: nothing would ever rebuild it", p.Name)
		}
	}
	if _, err := newSupply(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder without shims is no error")
	}
}

func TestSDKProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := sdkProxy(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "dagger.io/dagger/@v", sdkCommit+".info"))
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Version string }
	if err := json.Unmarshal(data, &info); err != nil || info.Version != pinned("dagger").Version {
		t.Errorf("the commit of the SDK is %s, %v", data, err)
	}
	for _, module := range []string{"otel-go", "querybuilder"} {
		folder := filepath.Join(dir, "github.com/dagger", module)
		if list, err := os.ReadFile(filepath.Join(folder, "@v/list")); err != nil || len(list) != 0 {
			t.Errorf("the list of %s is %q, %v", module, list, err)
		}
		data, err := os.ReadFile(filepath.Join(folder, "@latest"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &info); err != nil || !strings.HasPrefix(info.Version, "v") {
			t.Errorf("the newest %s is %s, %v", module, data, err)
		}
	}
}

func TestSDKGoProxy(t *testing.T) {
	t.Parallel()
	const own = "file://" + sdkProxyDir
	cases := map[string]struct {
		env  []string
		want string
	}{
		"before the machine's": {[]string{"GOPROXY=https://proxy.example,direct"}, own + ",https://proxy.example,direct"},
		"among others":         {[]string{"GOSUMDB=off", "GOPROXY=off", "GONOPROXY=x"}, own + ",off"},
		"no proxy known":       {nil, own},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := sdkGoProxy(c.env); got != c.want {
				t.Errorf("GOPROXY is %s, want %s", got, c.want)
			}
		})
	}
}

func TestDebianSources(t *testing.T) {
	t.Parallel()
	const key = "/key.gpg"
	cases := map[string]struct {
		targets string
		want    []string
	}{
		"nothing": {},
		"archive, updates and security": {
			"http://a/debian/ bookworm main Debian\nhttp://a/debian/ bookworm-updates main Debian\nhttp://a/debian-security/ bookworm-security main Debian\n",
			[]string{
				"deb [signed-by=/key.gpg] http://a/debian/ bookworm main",
				"deb [signed-by=/key.gpg] http://a/debian/ bookworm-updates main",
				"deb [signed-by=/key.gpg] http://a/debian-security/ bookworm-security main",
			},
		},
		"twice":                     {"http://a/ bookworm main Debian\nhttp://a/ bookworm main Debian", []string{"deb [signed-by=/key.gpg] http://a/ bookworm main"}},
		"lists not read yet":        {"http://a/ bookworm main \n", []string{"deb [signed-by=/key.gpg] http://a/ bookworm main"}},
		"another release":           {"http://a/ trixie main Debian\nhttp://a/ bookwormy main Debian", nil},
		"another component":         {"http://a/ bookworm non-free Debian", nil},
		"another vendor":            {"http://v/ bookworm main Example Inc.\nhttp://v/ bookworm-pgdg main apt.example.org", nil},
		"backports":                 {"http://a/ bookworm-backports main Debian Backports", nil},
		"a line that says too much": {"W: something\n\nhttp://a/ bookworm\n", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := debianSources(c.targets, key); !slices.Equal(got, c.want) {
				t.Errorf("sources are %q, want %q", got, c.want)
			}
		})
	}
}

// TestShimsAreReplaced: each shim is in use, and each one in use is there.
func TestShimsAreReplaced(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, flag := range daggerModEdits("/shims", pinned("dagger").Version) {
		if _, shim, ok := strings.Cut(flag, "=/shims/"); ok {
			used[shim] = true
		}
	}
	found, err := filepath.Glob("shims/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range found {
		there[filepath.Base(filepath.Dir(f))] = true
	}
	if !maps.Equal(used, there) {
		t.Errorf("shims are %v, used are %v", sortedKeys(there), sortedKeys(used))
	}
}
