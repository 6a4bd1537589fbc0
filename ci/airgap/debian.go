package airgap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suite is the Debian release every root filesystem here is made of. It is
// also the one Node's, Go's and distroless' official images are made of, and
// the last whose systemd accepts a cgroup v1 host.
const suite = "bookworm"

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// aptSources lists the Debian archives this machine's apt is configured for,
// as one-line sources; archives of other vendors are left out.
func aptSources(ctx context.Context) ([]string, error) {
	out, err := command{argv: []string{"apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages"}}.output(ctx)
	if err != nil {
		return nil, fmt.Errorf("read apt's sources: %w", err)
	}
	sources := debianSources(out, debianKeyring)
	if len(sources) == 0 {
		return nil, fmt.Errorf("apt has no source for Debian %s: add one to /etc/apt/sources.list and run apt-get update", suite)
	}
	return sources, nil
}

// debianSources turns `apt-get indextargets` lines "URI RELEASE COMPONENT
// ORIGIN" into one-line sources of the suite. Other vendors name their releases
// after Debian's and their component main, so the origin decides; it is empty
// for lists that apt has not read yet.
func debianSources(targets, keyring string) []string {
	var sources []string
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) < 3 || (f[1] != suite && !strings.HasPrefix(f[1], suite+"-")) || f[2] != "main" {
			continue
		}
		if origin := strings.Join(f[3:], " "); origin != "" && origin != "Debian" {
			continue
		}
		source := fmt.Sprintf("deb [signed-by=%s] %s %s %s", keyring, f[0], f[1], f[2])
		if !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	return sources
}

// debianTools are programs the supply itself needs on this machine. They are
// unpacked into the cache instead of installed, so that nothing of the
// machine changes.
func debianTools() *Part {
	packages := []string{
		"mmdebstrap",                                               // makes root filesystems from packages
		"slirp4netns", "libslirp0", "libglib2.0-0", "libpcre2-8-0", // the engine's network, without touching the host's
		"libseccomp2",
	}
	return &Part{
		Name:   "debian-tools",
		Inputs: append([]string{suite}, packages...),
		Build: func(ctx context.Context, w Work) error {
			download := command{argv: append([]string{"apt-get", "download"}, packages...), dir: w.Scratch, log: w.Log}
			if err := download.run(ctx); err != nil {
				// A new machine may never have read its package lists.
				update := command{argv: []string{"apt-get", "update"}, log: w.Log}
				if err := errors.Join(update.run(ctx), download.run(ctx)); err != nil {
					return err
				}
			}
			debs, err := filepath.Glob(filepath.Join(w.Scratch, "*.deb"))
			if err != nil {
				return err
			}
			for _, deb := range debs {
				if err := (command{argv: []string{"dpkg-deb", "-x", deb, w.Out}, log: w.Log}).run(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// hookStage is when mmdebstrap runs the hooks of a variant: where it installs
// nothing, it runs none after the installation, and says nothing of it.
func hookStage(variant string) string {
	if variant == "extract" {
		return "extract"
	}
	return "customize"
}

// rootfs is a Debian root filesystem with the packages, as rootfs.tar.
// Variant is mmdebstrap's: "minbase" for a system one can work in, "extract"
// for the bare files of the named packages and what they depend on. Hooks are
// shell lines that run in the end with the root as $1.
func rootfs(name string, tools *Part, variant string, packages []string, hooks ...string) *Part {
	stage := "customize"
	inputs := slices.Concat([]string{suite, variant}, packages)
	// Without hooks of its own a root stays as it always was, its key and, as it
	// is in the released image, its bytes.
	if len(hooks) > 0 && hookStage(variant) != stage {
		stage = hookStage(variant)
		inputs = append(inputs, stage)
	}
	return &Part{
		Name:   name,
		Needs:  []*Part{tools},
		Inputs: append(inputs, hooks...),
		Build: func(ctx context.Context, w Work) error {
			sources, err := aptSources(ctx)
			if err != nil {
				return err
			}
			list := filepath.Join(w.Scratch, "sources.list")
			if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
				return err
			}
			argv := []string{"perl", filepath.Join(w.Path(tools), "usr/bin/mmdebstrap"),
				"--mode=root", "--variant=" + variant, "--include=" + strings.Join(packages, ","),
				`--aptopt=Acquire::Languages "none"`}
			cleaned := append([]string{`rm -rf "$1"/usr/share/doc/*/changelog* "$1"/usr/share/man/* "$1"/usr/share/locale/*`}, hooks...)
			for _, h := range cleaned {
				argv = append(argv, "--"+stage+"-hook="+h)
			}
			argv = append(argv, suite, filepath.Join(w.Out, "rootfs.tar"), list)
			return command{
				argv: argv,
				env: append(os.Environ(),
					"TMPDIR="+w.Scratch,
					// Times in the archive: the same packages make the same bytes.
					"SOURCE_DATE_EPOCH=1"),
				log: w.Log,
			}.run(ctx)
		},
	}
}
