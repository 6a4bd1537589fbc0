package airgap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sdkCommit is the commit by which the engine asks for the Go SDK library of
// its release (goSDKLibVersion in dagger's core/sdk/go_sdk.go).
const sdkCommit = "56bb30426a8462af6f95cfdae6461d0cc796ff50"

// daggerPrograms are the commands of the dagger module that the supply needs:
// folder below cmd and what it is for.
var daggerPrograms = []string{
	"dagger",    // the CLI
	"engine",    // the engine
	"init",      // PID 1 of every step
	"codegen",   // the Go SDK's code generator
	"dialstdio", // the engine's end of `docker exec` connections
	"dnsname",   // names of services
}

// daggerEdits make the dagger module build without modules that some proxies
// refuse; shims/README.md says which and why. Files are below the module.
var daggerEdits = []struct{ file, old, new string }{
	{"core/sdk/dang/v2/helpers.go", `"github.com/vito/dang/v2/`, `"github.com/vito/dang/`},
	{"core/sdk/dang/v2/sdk.go", `"github.com/vito/dang/v2/`, `"github.com/vito/dang/`},
	{"dagql/idtui/vterm.go", `"github.com/vito/midterm"`, `midterm "` + shimModule + `vterm"`},
}

const shimModule = "github.com/backstage-gitops/backstage-gitops/ci/airgap/shims/"

// daggerModEdits are the flags of `go mod edit` that go with daggerEdits.
func daggerModEdits(shims, version string) []string {
	return []string{
		"-droprequire=github.com/vito/dang/v2",
		"-require=github.com/vito/dang@v1.0.1",
		"-replace=dagger.io/dagger=dagger.io/dagger@" + version,
		"-replace=github.com/dagger/dagger/engine/distconsts=" + filepath.Join(shims, "distconsts"),
		"-replace=github.com/vito/midterm=github.com/vito/midterm@v0.2.4",
		"-replace=github.com/vito/tuist=" + filepath.Join(shims, "tuist"),
		"-replace=github.com/vito/tuist/teav1=" + filepath.Join(shims, "teav1"),
		"-require=" + shimModule + "vterm@v0.0.0",
		"-replace=" + shimModule + "vterm=" + filepath.Join(shims, "vterm"),
	}
}

// dagger builds Dagger's programs from its Go module and the shims.
func dagger(shims string) (*Part, error) {
	pin := pinned("dagger")
	shimsDigest, err := digestOf(shims)
	if err != nil {
		return nil, err
	}
	return &Part{
		Name:     "dagger",
		Inputs:   []string{pin.Version, shimsDigest, fmt.Sprint(daggerEdits), fmt.Sprint(daggerPrograms), strings.Join(daggerModEdits("", pin.Version), " ")},
		Compiles: true,
		Build: func(ctx context.Context, w Work) error {
			env := append(goEnv(w), "GOFLAGS=-mod=mod -modcacherw", "CGO_ENABLED=0")
			src, err := moduleSource(ctx, w, "github.com/dagger/dagger", pin.Version, env)
			if err != nil {
				return err
			}
			edit := command{argv: append([]string{"go", "mod", "edit"}, daggerModEdits(shims, pin.Version)...), dir: src, env: env, log: w.Log}
			if err := edit.run(ctx); err != nil {
				return err
			}
			for _, e := range daggerEdits {
				if err := editFile(filepath.Join(src, e.file), e.old, e.new); err != nil {
					return err
				}
			}
			// The same stamps as upstream's releases carry: CLI, engine and
			// modules compare them.
			stamps := fmt.Sprintf("-s -w -X github.com/dagger/dagger/engine.Version=%[1]s -X github.com/dagger/dagger/engine.Tag=%[1]s", pin.Version)
			argv := []string{"go", "build", "-trimpath", "-ldflags", stamps, "-o", filepath.Join(w.Out, "bin") + "/"}
			for _, p := range daggerPrograms {
				argv = append(argv, "./cmd/"+p)
			}
			return command{argv: argv, dir: src, env: env, log: w.Log}.run(ctx)
		},
	}, nil
}

// editFile replaces every old in the file; a file without one has changed
// under us and is an error.
func editFile(path, old, new string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), old) {
		return fmt.Errorf("%s does not contain %s: the pinned version changed, look at what is edited in it", path, old)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, new)), 0o644)
}

// goTool builds pinned commands of a Go module without cgo into bin.
func goTool(name string, pin Pin, packages ...string) *Part {
	return &Part{
		Name:     name,
		Inputs:   append([]string{pin.Version}, packages...),
		Compiles: true,
		Build: func(ctx context.Context, w Work) error {
			argv := []string{"go", "install", "-trimpath", "-ldflags", "-s -w"}
			for _, p := range packages {
				argv = append(argv, p+"@"+pin.Version)
			}
			return command{argv: argv, dir: w.Scratch, log: w.Log,
				env: append(goEnv(w), "CGO_ENABLED=0", "GOBIN="+filepath.Join(w.Out, "bin"))}.run(ctx)
		},
	}
}
