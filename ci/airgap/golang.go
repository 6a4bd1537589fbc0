package airgap

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// goToolchain is the pinned Go distribution below usr/local/go. The go command
// downloads toolchains as modules, so the module proxy has them.
func goToolchain() *Part {
	pin := pinned("go")
	version := "v0.0.1-go" + pin.Version + ".linux-amd64"
	return &Part{
		Name:   "go",
		Inputs: []string{version},
		Build: func(ctx context.Context, w Work) error {
			out, err := command{
				argv: []string{"go", "mod", "download", "-json", "golang.org/toolchain@" + version},
				dir:  w.Scratch,
				env:  goEnv(w),
				log:  w.Log,
			}.output(ctx)
			if err != nil {
				return err
			}
			var module struct{ Dir string }
			if err := json.Unmarshal([]byte(out), &module); err != nil {
				return fmt.Errorf("go mod download golang.org/toolchain: %w", err)
			}
			root := filepath.Join(w.Out, "usr/local/go")
			if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
				return err
			}
			// Not hard links: the modes differ from those in the module cache.
			if err := (command{argv: []string{"cp", "-r", module.Dir, root}, log: w.Log}).run(ctx); err != nil {
				return err
			}
			return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				mode := fs.FileMode(0o644)
				// Module archives carry no executable bits.
				rel := strings.TrimPrefix(path, root)
				if d.IsDir() || strings.HasPrefix(rel, "/bin/") || strings.HasPrefix(rel, "/pkg/tool/") {
					mode = 0o755
				}
				return os.Chmod(path, mode)
			})
		},
	}
}

// goEnv is the environment of Go builds: this machine's Go configuration with
// module and build caches, and what an interrupt leaves, inside the supply's
// own folder.
func goEnv(w Work) []string {
	return append(os.Environ(),
		"GOMODCACHE="+filepath.Join(w.Shared, "gomod"),
		"GOCACHE="+filepath.Join(w.Shared, "gobuild"),
		"GOTMPDIR="+w.Scratch,
		"GOFLAGS=-modcacherw",
		"GOTOOLCHAIN=local",
		"GOWORK=off",
	)
}

// runc is the container runtime, static so that it runs in the engine's image
// as it does here. It needs cgo, so it is built in the golang image's root
// rather than with whatever compiler this machine has.
func runc(goRoot, toolchain *Part) *Part {
	pin := pinned("runc")
	return &Part{
		Name:     "runc",
		Needs:    []*Part{goRoot, toolchain},
		Inputs:   []string{pin.Version, "seccomp netgo osusergo"},
		Compiles: true,
		Build: func(ctx context.Context, w Work) error {
			root, err := newChroot(ctx, w, filepath.Join(w.Path(goRoot), "rootfs.tar"))
			if err != nil {
				return err
			}
			caches := filepath.Join(w.Shared, "chroot")
			if err := os.MkdirAll(caches, 0o755); err != nil {
				return err
			}
			root.binds["/usr/local/go"] = filepath.Join(w.Path(toolchain), "usr/local/go")
			root.binds["/go"] = caches
			root.binds["/out"] = w.Out
			return root.run(ctx, w, append(goProxyEnv(ctx),
				"CGO_ENABLED=1", "GOPATH=/go", "GOCACHE=/go/cache", "GOBIN=/out/bin", "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local",
			), "go", "install", "-trimpath", "-tags", "seccomp netgo osusergo",
				"-ldflags", "-s -w -extldflags -static",
				"github.com/opencontainers/runc@"+pin.Version)
		},
	}
}

// registry is the registry of the module in dir.
func registry(dir string) (*Part, error) {
	pin := pinned("distribution")
	return ownModule("registry", pin, dir, "github.com/distribution/distribution/v3/version.version="+pin.Version)
}

// ownModule is the program of the module in dir, a folder of this checkout, whose go.sum
// pins all that it is compiled from. The stamp is the variable that the linker
// sets, with its value.
func ownModule(name string, pin Pin, dir, stamp string) (*Part, error) {
	digest, err := digestOf(dir)
	if err != nil {
		return nil, err
	}
	return &Part{
		Name:     name,
		Inputs:   []string{pin.Version, digest},
		Compiles: true,
		Build: func(ctx context.Context, w Work) error {
			return command{
				argv: []string{"go", "build", "-trimpath", "-ldflags", "-s -w -X " + stamp, "-o", filepath.Join(w.Out, "bin", name), "."},
				dir:  dir,
				env:  append(goEnv(w), "CGO_ENABLED=0"),
				log:  w.Log,
			}.run(ctx)
		},
	}, nil
}

// goProxyEnv is where this machine's Go looks for modules and checksums.
func goProxyEnv(ctx context.Context) []string {
	var env []string
	for _, name := range []string{"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE"} {
		value, err := command{argv: []string{"go", "env", name}}.output(ctx)
		if err == nil && strings.TrimSpace(value) != "" {
			env = append(env, name+"="+strings.TrimSpace(value))
		}
	}
	return env
}

// sdkProxy writes a module proxy tree to dir that answers, in the Go SDK
// image, the version queries of Dagger's code generator which not every proxy
// answers: the SDK library by the commit it was released from, and the newest
// of two modules that the generated code uses. Only the answers are here, the
// modules come from the machine's own proxy.
func sdkProxy(dir string) error {
	info := func(version string) string { return fmt.Sprintf("{\"Version\":%q}\n", version) }
	for path, content := range map[string]string{
		"dagger.io/dagger/@v/" + sdkCommit + ".info": info(pinned("dagger").Version),
		// An empty list makes go ask for the newest.
		"github.com/dagger/otel-go/@v/list":      "",
		"github.com/dagger/otel-go/@latest":      info("v1.43.1-0.20260515012101-af7cd0684887"),
		"github.com/dagger/querybuilder/@v/list": "",
		"github.com/dagger/querybuilder/@latest": info("v0.0.0-20260402040506-574a5e81cb59"),
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
