package airgap

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// moduleBuild builds commands of a Go module from a writable copy of its
// source, with the module's own go.mod and go.sum: its replacements and
// checksums hold, which `go install` refuses, and versions can be stamped in.
type moduleBuild struct {
	// path and version name the module.
	path, version string
	// modFile, where it is set, is the file that serves as go.mod in a module
	// that has none; its checksums are beside it, with the ending .sum.
	modFile string
	// folders is the version of the modules that go.mod replaces by folders,
	// which are not part of the module's archive. Without it the versions that
	// go.mod requires hold.
	folders string
	// edits are further flags of `go mod edit`.
	edits []string
	// add are files written into the source, for folders that the archive
	// lacks because they are modules of their own.
	add map[string]string
	// patches change the source, where it imports a package that needs a
	// module which is not served.
	patches []patch
	// stamps are the variables that the linker sets: import path, dot, name,
	// equals sign, value.
	stamps []string
	// tags are build tags, with spaces between them.
	tags string
	// packages are the commands, below the module.
	packages []string
	// files are files and folders of the source to keep, below src.
	files []string
}

// patch replaces a text in a file of a module's source.
type patch struct{ file, old, new string }

func (m moduleBuild) inputs() []string {
	in := slices.Concat([]string{m.path, m.version, m.modFile, m.folders, fmt.Sprint(m.add), "edits"}, m.edits, []string{"stamps"}, m.stamps, []string{"packages"}, m.packages, []string{"files"}, m.files)
	if len(m.patches) > 0 {
		// Only where there is something, so that the keys of others stay.
		in = append(in, "patches", fmt.Sprint(m.patches))
	}
	if m.tags != "" {
		in = append(in, "tags", m.tags)
	}
	return in
}

func (m moduleBuild) part(name string) *Part {
	return &Part{
		Name:     name,
		Inputs:   m.inputs(),
		Compiles: len(m.packages) > 0,
		Build: func(ctx context.Context, w Work) error {
			env := append(goEnv(w), "GOFLAGS=-mod=mod -modcacherw", "CGO_ENABLED=0")
			src, err := moduleSource(ctx, w, m.path, m.version, env)
			if err != nil {
				return err
			}
			if m.modFile != "" {
				if err := copyFiles(map[string]string{
					filepath.Join(src, m.modFile):                                    filepath.Join(src, "go.mod"),
					filepath.Join(src, strings.TrimSuffix(m.modFile, ".mod")+".sum"): filepath.Join(src, "go.sum"),
				}); err != nil {
					return err
				}
			}
			if err := writeTexts(src, m.add); err != nil {
				return err
			}
			for _, p := range m.patches {
				if err := editFile(filepath.Join(src, p.file), p.old, p.new); err != nil {
					return err
				}
			}
			modJSON, err := command{argv: []string{"go", "mod", "edit", "-json"}, dir: src, env: env, log: w.Log}.output(ctx)
			if err != nil {
				return err
			}
			edits, err := folderEdits([]byte(modJSON), src, m.folders)
			if err != nil {
				return fmt.Errorf("go.mod of %s: %w", m.path, err)
			}
			if edits = append(edits, m.edits...); len(edits) > 0 {
				if err := (command{argv: append([]string{"go", "mod", "edit"}, edits...), dir: src, env: env, log: w.Log}).run(ctx); err != nil {
					return err
				}
			}
			if len(m.packages) > 0 {
				if err := (command{argv: m.argv(filepath.Join(w.Out, "bin")), dir: src, env: env, log: w.Log}).run(ctx); err != nil {
					return err
				}
			}
			for _, f := range m.files {
				to := filepath.Join(w.Out, "src", f)
				for _, argv := range [][]string{{"mkdir", "-p", filepath.Dir(to)}, {"cp", "-r", filepath.Join(src, f), to}} {
					if err := (command{argv: argv, log: w.Log}).run(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}

// folderEdits are the flags of `go mod edit` that take the modules which a
// go.mod replaces by folders from the proxy instead, where src has no such
// folder.
func folderEdits(modJSON []byte, src, version string) ([]string, error) {
	var mod struct {
		Replace []struct {
			Old, New struct{ Path, Version string }
		}
	}
	if err := json.Unmarshal(modJSON, &mod); err != nil {
		return nil, err
	}
	var edits []string
	for _, r := range mod.Replace {
		_, err := os.Stat(filepath.Join(src, r.New.Path, "go.mod"))
		switch {
		case !strings.HasPrefix(r.New.Path, "."), err == nil:
		case version == "":
			edits = append(edits, "-dropreplace="+r.Old.Path)
		default:
			edits = append(edits, fmt.Sprintf("-replace=%s=%[1]s@%s", r.Old.Path, version))
		}
	}
	return edits, nil
}

// argv is the build itself. Several commands share one run, and so one
// compilation of what they have in common.
func (m moduleBuild) argv(bin string) []string {
	flags := []string{"-s", "-w"}
	for _, s := range m.stamps {
		flags = append(flags, "-X "+s)
	}
	argv := []string{"go", "build", "-trimpath", "-ldflags", strings.Join(flags, " "), "-o", bin + "/"}
	if m.tags != "" {
		argv = append(argv, "-tags", m.tags)
	}
	return append(argv, m.packages...)
}

// moduleSource is a writable copy of the module's source, in the scratch
// folder.
func moduleSource(ctx context.Context, w Work, path, version string, env []string) (string, error) {
	out, err := command{argv: []string{"go", "mod", "download", "-json", path + "@" + version}, dir: w.Scratch, env: env, log: w.Log}.output(ctx)
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", path, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", path, err)
	}
	src := filepath.Join(w.Scratch, "src")
	for _, argv := range [][]string{{"cp", "-r", module.Dir, src}, {"chmod", "-R", "u+w", src}} {
		if err := (command{argv: argv, log: w.Log}).run(ctx); err != nil {
			return "", err
		}
	}
	return src, nil
}
