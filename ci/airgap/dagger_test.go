package airgap

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEditFile(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, content, old, new string
		want, wantErr           string
	}{
		{
			name:    "every occurrence",
			content: "import (\n\t\"github.com/vito/dang/v2/pkg/dang\"\n\t\"github.com/vito/dang/v2/pkg/hm\"\n)\n",
			old:     `"github.com/vito/dang/v2/`, new: `"github.com/vito/dang/`,
			want: "import (\n\t\"github.com/vito/dang/pkg/dang\"\n\t\"github.com/vito/dang/pkg/hm\"\n)\n",
		},
		{
			name:    "an import that moved",
			content: "import \"github.com/vito/dang/v3/pkg/dang\"\n",
			old:     `"github.com/vito/dang/v2/`, new: `"github.com/vito/dang/`,
			wantErr: "the pinned version changed",
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file.go")
			if err := os.WriteFile(file, []byte(tc.content), 0o644); err != nil {
				t.Fatal(err)
			}
			err := editFile(file, tc.old, tc.new)
			got, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			switch {
			case tc.wantErr == "" && err != nil:
				t.Fatal(err)
			case tc.wantErr == "" && string(got) != tc.want:
				t.Errorf("file = %q, want %q", got, tc.want)
			case tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)):
				t.Errorf("error = %v, want one with %q", err, tc.wantErr)
			case tc.wantErr != "" && string(got) != tc.content:
				t.Errorf("a refused edit left %q", got)
			}
		})
	}
}

// shimFolders lists the modules that stand in for others.
func shimFolders(t *testing.T) []string {
	t.Helper()
	mods, err := filepath.Glob("shims/*/go.mod")
	if err != nil || len(mods) == 0 {
		t.Fatalf("no shims: %v", err)
	}
	var names []string
	for _, mod := range mods {
		names = append(names, filepath.Base(filepath.Dir(mod)))
	}
	return names
}

// modulePath is the module that a go.mod declares.
func modulePath(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	path, ok := strings.CutPrefix(first, "module ")
	if !ok {
		t.Fatalf("%s does not begin with its module: %q", file, first)
	}
	return path
}

func TestEveryShimStandsInForItsModule(t *testing.T) {
	t.Parallel()
	edits := daggerModEdits("/shims", "v0.21.8")
	for _, name := range shimFolders(t) {
		module := modulePath(t, filepath.Join("shims", name, "go.mod"))
		if want := "-replace=" + module + "=/shims/" + name; !slices.Contains(edits, want) {
			t.Errorf("dagger's go.mod is not edited with %s", want)
		}
	}
}

func TestTheShimsReadmeNamesEveryShim(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("shims/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range shimFolders(t) {
		if !strings.Contains(string(readme), "\n| `"+name+"` |") {
			t.Errorf("shims/README.md has no row for %s", name)
		}
	}
	for _, e := range daggerEdits {
		if !strings.Contains(string(readme), e.file) {
			t.Errorf("shims/README.md does not say that %s is edited", e.file)
		}
	}
}

// The shims' own tests run as the shims are compiled: from a module that
// replaces what they stand in for, with the versions that dagger's go.mod
// selects.
func TestShims(t *testing.T) {
	t.Parallel()
	shims, err := filepath.Abs("shims")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	edits := append(daggerModEdits(shims, "v0.21.8"),
		"-require=github.com/charmbracelet/bubbletea@v1.3.10",
		"-require=github.com/charmbracelet/ultraviolet@v0.0.0-20260309091805-903bfd0cf188",
		"-require=github.com/charmbracelet/x/cellbuf@v0.0.15",
		"-require=github.com/vito/midterm@v0.2.4",
		"-require=github.com/vito/tuist@v0.0.6",
		"-require=github.com/vito/tuist/teav1@v0.0.0",
		"-require=github.com/dagger/dagger/engine/distconsts@v0.21.6",
		"-droprequire=github.com/vito/dang",
	)
	var modules []string
	for _, name := range shimFolders(t) {
		modules = append(modules, modulePath(t, filepath.Join(shims, name, "go.mod")))
	}
	for _, argv := range [][]string{
		{"go", "mod", "init", "example.com/shims"},
		append([]string{"go", "mod", "edit"}, edits...),
		append([]string{"go", "vet"}, modules...),
		append([]string{"go", "test"}, modules...),
	} {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOTOOLCHAIN=local")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv[:2], " "), err, out)
		}
	}
}
