package airgap

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// chroot is a scratch copy of a root filesystem in which programs are run
// that must not depend on what this machine happens to have installed.
type chroot struct {
	root string
	// binds are folders of this machine, by their place in the root.
	binds map[string]string
}

// newChroot unpacks the archive below scratch and gives it this machine's
// name servers and certificate authorities.
func newChroot(ctx context.Context, w Work, rootfsTar string) (chroot, error) {
	c := chroot{root: filepath.Join(w.Scratch, "root"), binds: map[string]string{}}
	if err := unpack(ctx, w, rootfsTar, c.root); err != nil {
		return c, err
	}
	if data, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		if err := os.WriteFile(filepath.Join(c.root, "etc/resolv.conf"), data, 0o644); err != nil {
			return c, err
		}
	}
	if certs, _ := filepath.Glob(filepath.Join(hostCertificates, "*.crt")); len(certs) > 0 {
		c.binds[hostCertificates] = hostCertificates
		return c, c.run(ctx, w, nil, "/usr/sbin/update-ca-certificates")
	}
	return c, nil
}

// hostCertificates is where Debian keeps the certificate authorities that an
// administrator added, such as those of a company's proxy.
const hostCertificates = "/usr/local/share/ca-certificates"

// unpack extracts a tar archive into dir, which it makes.
func unpack(ctx context.Context, w Work, archive, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Device nodes come from mounts and need rights that a host may lack.
	return command{argv: []string{"tar", "-C", dir, "-xf", archive, "--exclude=./dev/*", "--numeric-owner"}, log: w.Log}.run(ctx)
}

// run runs a program in the root, in mount and process namespaces of its own,
// so that its mounts and children end with it.
func (c chroot) run(ctx context.Context, w Work, env []string, argv ...string) error {
	var script strings.Builder
	script.WriteString("set -eu\nroot=$1; shift\nmount -t proc proc \"$root/proc\"\nmkdir -p \"$root/dev\"\nmount --rbind /dev \"$root/dev\"\n")
	args := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "", "sh", c.root}
	for inside, outside := range c.binds {
		script.WriteString("mkdir -p \"$root$2\"\nmount --rbind \"$1\" \"$root$2\"\nshift 2\n")
		args = append(args, outside, inside)
	}
	script.WriteString("exec chroot \"$root\" \"$@\"\n")
	args[7] = script.String()
	return command{
		argv: append(args, argv...),
		env: append([]string{
			"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		}, env...),
		log: w.Log,
	}.run(ctx)
}
