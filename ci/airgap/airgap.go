// Package airgap supplies what `dagger` needs on a machine that reaches package
// registries but no container registry and has no container runtime: the
// Dagger CLI, an engine that runs under runc, and a mirror that serves base
// images under their official names. Everything is built from Go modules,
// Debian packages and npm packages, through each client's own configuration.
//
// It writes only below its cache directory, and Down removes all of it.
package airgap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Airgap is the supply of one user: a cache directory and what runs from it.
type Airgap struct {
	// Cache is the folder everything is kept in.
	Cache string
	// Root is the checkout, whose shims are compiled.
	Root string
	// Sets are sets of images that Up adds to the core and to those it was
	// asked for before.
	Sets []string
	// Progress receives a line per finished part.
	Progress io.Writer
}

// DefaultCache is backstage-gitops/airgap in the user's cache directory.
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w: set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "backstage-gitops", "airgap"), nil
}

// ErrNeedsAMD64 is returned by Up on a machine that nothing here is built for.
var ErrNeedsAMD64 = errors.New("no container runtime is running, and one can be built on Linux on x86-64 only: start Docker (or podman, nerdctl)")

// ErrNeedsRoot is returned by Up for a user who may not make root filesystems.
var ErrNeedsRoot = errors.New("no container runtime is running and this user is not root: start Docker (or podman, nerdctl), or run this as root")

func (a Airgap) state() string   { return filepath.Join(a.Cache, "state") }
func (a Airgap) store() Store    { return Store{Dir: filepath.Join(a.Cache, "parts")} }
func (a Airgap) envFile() string { return filepath.Join(a.Cache, "engine.env") }
func (a Airgap) socket() string  { return filepath.Join(a.state(), "run", filepath.Base(engineSocket)) }

// Up builds what is missing and starts the engine, its network and the mirror
// where they do not run. It leaves engine.env in the cache directory, from
// which daggerw reads how to reach the engine.
func (a Airgap) Up(ctx context.Context) (err error) {
	if err := fits(runtime.GOOS, runtime.GOARCH, os.Geteuid()); err != nil {
		return err
	}
	defer func() { err = a.explain(ctx, err) }()
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	s, err := newSupply(ctx, a.Root)
	if err != nil {
		return err
	}
	before, err := a.remembered()
	if err != nil {
		return err
	}
	sets, err := s.choose(a.Sets, before)
	if err != nil {
		return err
	}
	b := &builder{store: a.store(), tmp: filepath.Join(a.Cache, "tmp"), shared: filepath.Join(a.Cache, "build"), logs: filepath.Join(a.Cache, "logs"), progress: a.Progress}
	// What an interrupted run left half-built.
	if err := removeAll(b.tmp); err != nil {
		return err
	}
	built := len(missingFrom(a.store(), s.parts(sets))) > 0
	if err := b.build(ctx, s.parts(sets)); errors.Is(err, syscall.ENOSPC) {
		// A full disk is in everyone's way: leave only what is finished on it.
		return errors.Join(err, removeAll(b.shared))
	} else if err != nil {
		return err
	}
	if built {
		// Parts of a set that nobody asked for yet are those of an interrupted
		// run, which continues with them.
		if err := errors.Join(removeAll(b.shared), a.store().Prune(closure(s.parts(s.sets())))); err != nil {
			return err
		}
	}
	if err := a.remember(sets); err != nil {
		return err
	}
	key := s.key()
	if a.running(key) {
		if err := a.fillMirror(ctx, s, s.images(sets)); err != nil {
			return fmt.Errorf("fill the mirror: %w", err)
		}
		return a.writeEnv(s, key, sets)
	}
	if err := a.stop(ctx); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		if err := a.stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintf(a.Progress, "airgap: stop what was started: %v\n", err)
		}
	}()
	start := time.Now()
	if err := a.start(ctx, s, sets); err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	fmt.Fprintf(a.Progress, "airgap: engine ready in %s\n", time.Since(start).Round(100*time.Millisecond))
	return a.writeEnv(s, key, sets)
}

// fits tells whether the supply can be built and run here. The machine comes
// first: root would not help on another one.
func fits(goos, goarch string, uid int) error {
	switch {
	case goos != "linux" || goarch != "amd64":
		return ErrNeedsAMD64
	case uid != 0:
		return ErrNeedsRoot
	}
	return nil
}

// key changes whenever a running engine no longer fits its parts. Sets do not
// count: the engine's configuration names the registries of all of them, and
// their images join a mirror that runs.
func (s supply) key() string {
	all := &Part{Name: "supply", Needs: s.parts([]string{coreSet})}
	if config, err := engineConfig(sortedKeys(s.images(s.sets()))); err == nil {
		all.Inputs = append([]string{string(config)}, engineArgs...)
	}
	return all.Key()
}

// explain turns the errors that can come from anywhere into what a person
// can do about them: an interrupt, which stops programs in ways of their own,
// and a full disk.
func (a Airgap) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case diskFull(err, ""):
		free := "none is"
		var disk syscall.Statfs_t
		if syscall.Statfs(a.Cache, &disk) == nil {
			free = gigabytes(int64(disk.Bavail)*disk.Bsize) + " are"
		}
		return fmt.Errorf("the disk is full: building takes up to %s in %s, where %s free now: make room there, or set XDG_CACHE_HOME to a folder on a larger disk, and run the same command again: it continues",
			gigabytes(diskNeeded), a.Cache, free)
	}
	return err
}

// diskNeeded is what the cache directory stays below while the supply is
// built, module and build caches included, and before a step has run in the
// engine: 4 GB of parts, and 2 GB of state or else the caches of compilers.
const diskNeeded = 12e9

func gigabytes(n int64) string { return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB" }

// diskFull tells whether the error, or what a program printed, is that of a
// full disk.
func diskFull(err error, printed string) bool {
	text := strings.ToLower(err.Error() + printed)
	// The second is apt's, which asks before it writes.
	return errors.Is(err, syscall.ENOSPC) || strings.Contains(text, "no space left on device") || strings.Contains(text, "enough free space")
}

// lock keeps other runs out of the cache directory.
func (a Airgap) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(a.Cache, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(a.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for said := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		if !said {
			fmt.Fprintln(a.Progress, "airgap: another run is at work here, waiting for it")
			said = true
		}
		// Asked again and again, as nothing interrupts a wait in the kernel.
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// log is where the engine, the network and the mirror write.
func (a Airgap) log(what string) string { return filepath.Join(a.Cache, "logs", what+".log") }

// withLog is err with the last lines of a log.
func (a Airgap) withLog(err error, what string) error {
	return fmt.Errorf("%w\n%s\nits log: %s", err, indent(tailOf(a.log(what))), a.log(what))
}

// start lays out the engine's state, fills the mirror and starts, in this
// order, the container, its network and the mirror inside that network.
func (a Airgap) start(ctx context.Context, s supply, sets []string) error {
	state := a.state()
	for _, d := range []string{"run", "lib", "etc", "runc", "mirror"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(a.log("engine")), 0o755); err != nil {
		return err
	}
	if err := a.emptyMirror(s.images(s.sets())); err != nil {
		return err
	}
	if err := a.fillMirror(ctx, s, s.images(sets)); err != nil {
		return fmt.Errorf("fill the mirror: %w", err)
	}
	config, err := engineConfig(sortedKeys(s.images(s.sets())))
	if err != nil {
		return err
	}
	files := map[string]string{
		"etc/engine.json": string(config),
		// slirp4netns forwards this address to the host's name servers.
		"resolv.conf": "nameserver 10.0.2.3\n",
		"mirror.yml":  mirrorConfig(filepath.Join(state, "mirror"), mirrorAddr, true),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	bundle := filepath.Join(state, "bundle")
	rootDir := filepath.Join(bundle, "rootfs-"+s.engine.Key())
	if _, err := os.Stat(rootDir); errors.Is(err, fs.ErrNotExist) {
		if err := removeAll(bundle); err != nil {
			return err
		}
		if err := os.MkdirAll(bundle, 0o755); err != nil {
			return err
		}
		half := rootDir + ".half"
		if err := (command{argv: []string{"cp", "-a", filepath.Join(a.store().Path(s.engine), "rootfs"), half}}).run(ctx); err != nil {
			return errors.Join(err, removeAll(bundle))
		}
		if err := os.Rename(half, rootDir); err != nil {
			return err
		}
	}
	digest, err := os.ReadFile(filepath.Join(a.store().Path(s.engine), sdkDigestFile))
	if err != nil {
		return err
	}
	env := []string{"DAGGER_GO_SDK_MANIFEST_DIGEST=" + string(digest), "_DAGGER_ENGINE_SYSTEMENV_GOPROXY=" + sdkGoProxy(goProxyEnv(ctx))}
	_, certsErr := os.Stat(hostCertificates)
	spec, err := engineSpec(state, rootDir, env, certsErr == nil)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644); err != nil {
		return err
	}

	if err := os.Rename(a.log("engine"), a.log("engine")+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.Create(a.log("engine"))
	if err != nil {
		return err
	}
	defer log.Close()
	pidFile := filepath.Join(state, "engine.pid")
	if err := a.runc(ctx, s, log, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, containerID(state)); err != nil {
		return a.withLog(err, "engine")
	}
	pid, err := readPID(pidFile)
	if err != nil {
		return err
	}
	tools := a.store().Path(s.tools)
	slirp := exec.Command(filepath.Join(tools, "usr/bin/slirp4netns"),
		"--configure", "--mtu=65520", "--disable-host-loopback", strconv.Itoa(pid), "tap0")
	slirp.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(tools, "usr/lib/x86_64-linux-gnu")+":"+filepath.Join(tools, "lib/x86_64-linux-gnu"))
	if err := a.daemon(slirp, "network"); err != nil {
		return err
	}
	mirror := exec.Command("nsenter", "--net=/proc/"+strconv.Itoa(pid)+"/ns/net", "--",
		filepath.Join(a.store().Path(s.registry), "bin/registry"), "serve", filepath.Join(state, "mirror.yml"))
	if err := a.daemon(mirror, "mirror"); err != nil {
		return err
	}
	return a.waitReady(ctx)
}

// sdkGoProxy puts the answers in the Go SDK image before this machine's proxy.
func sdkGoProxy(env []string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "GOPROXY="); ok {
			return "file://" + sdkProxyDir + "," + value
		}
	}
	return "file://" + sdkProxyDir
}

func (a Airgap) runc(ctx context.Context, s supply, log *os.File, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(a.store().Path(s.runc), "bin/runc"), append([]string{"--root", filepath.Join(a.state(), "runc")}, args...)...)
	// Files, not pipes: the container inherits them and outlives this call.
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("runc %s: %w", args[0], err)
	}
	return nil
}

// daemon starts a process that outlives this one and notes its id.
func (a Airgap) daemon(cmd *exec.Cmd, what string) error {
	log, err := os.Create(a.log(what))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = a.Cache
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.state(), what+".pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	return cmd.Process.Release()
}

// engineStart is how long an engine may take to answer.
const engineStart = 10 * time.Minute

// waitReady waits until the engine's socket answers. It fails as soon as one of
// the processes has ended.
func (a Airgap) waitReady(ctx context.Context) error {
	// An engine that finds its cache damaged, as after a full disk, throws it
	// away before it answers: minutes of deleting.
	interrupted, late := ctx.Done(), time.After(engineStart)
	patience := time.NewTicker(30 * time.Second)
	defer patience.Stop()
	for {
		for _, what := range []string{"engine", "network", "mirror"} {
			pid, err := readPID(filepath.Join(a.state(), what+".pid"))
			if err != nil {
				return err
			}
			if gone(pid) {
				return a.withLog(fmt.Errorf("the %s ended at its start", what), what)
			}
		}
		conn, err := net.Dial("unix", a.socket())
		if err == nil {
			return errors.Join(conn.Close(), ctx.Err())
		}
		select {
		case <-interrupted:
			// An engine that is told to end while it opens its cache throws
			// the cache away: let it come up first.
			interrupted, late = nil, time.After(10*time.Second)
		case <-late:
			return a.withLog(fmt.Errorf("the engine did not answer within %s: %w", engineStart, err), "engine")
		case <-patience.C:
			fmt.Fprintf(a.Progress, "airgap: waiting for the engine, which may be discarding a damaged cache; its log: %s\n", filepath.Join(a.Cache, "logs", "engine.log"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// mirrored is the file that says that the mirror has the image of this part.
func (a Airgap) mirrored(p *Part) string {
	return filepath.Join(a.state(), "mirrored", filepath.Base(a.store().Path(p)))
}

// emptyMirror removes the mirror's storage where it holds an image that is
// none of these: a registry gives back no space otherwise.
func (a Airgap) emptyMirror(images map[string]*Part) error {
	entries, err := os.ReadDir(filepath.Join(a.state(), "mirrored"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := map[string]bool{}
	for _, p := range images {
		known[filepath.Base(a.mirrored(p))] = true
	}
	stale := err != nil // storage without a word of what it holds
	for _, e := range entries {
		stale = stale || !known[e.Name()]
	}
	if !stale {
		return nil
	}
	// What it is said to hold goes first: an interruption leaves nothing claimed.
	return errors.Join(removeAll(filepath.Join(a.state(), "mirrored")), removeAll(filepath.Join(a.state(), "mirror")))
}

// fillMirror brings the images that it lacks into the mirror's storage,
// through a registry that runs for just that on an address of this machine
// only. The mirror itself only reads and may run meanwhile.
func (a Airgap) fillMirror(ctx context.Context, s supply, images map[string]*Part) error {
	var missing []string
	for _, ref := range sortedKeys(images) {
		if _, err := os.Stat(a.mirrored(images[ref])); err != nil {
			missing = append(missing, ref)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	storage := filepath.Join(a.state(), "mirror")
	for _, dir := range []string{storage, filepath.Join(a.state(), "mirrored")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	config := filepath.Join(a.state(), "fill.yml")
	if err := os.WriteFile(config, []byte(mirrorConfig(storage, addr, false)), 0o644); err != nil {
		return err
	}
	out := &tailWriter{limit: 1000}
	end, err := serve(ctx, out, addr, time.Minute, filepath.Join(a.store().Path(s.registry), "bin/registry"), "serve", config)
	if err != nil {
		return fmt.Errorf("the registry that fills it: %w\n%s", err, indent(out.String()))
	}
	defer end()
	for _, ref := range missing {
		start := time.Now()
		official, err := name.ParseReference(ref)
		if err != nil {
			return err
		}
		tag, err := name.NewTag(addr+"/"+official.Context().RepositoryStr()+":"+official.Identifier(), name.Insecure)
		if err != nil {
			return err
		}
		img, err := readImage(a.store().Path(images[ref]))
		if err != nil {
			return err
		}
		if err := remote.Write(tag, img, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("%s: %w\n%s", ref, err, indent(out.String()))
		}
		if err := os.WriteFile(a.mirrored(images[ref]), []byte(ref+"\n"), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(a.Progress, "airgap: the mirror has %s %s\n", ref, time.Since(start).Round(100*time.Millisecond))
	}
	return nil
}

// serve starts a program that answers on a TCP address, and returns once it
// does or when it cannot any more; end ends it.
func serve(ctx context.Context, log io.Writer, addr string, limit time.Duration, argv ...string) (end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	program := exec.CommandContext(ctx, argv[0], argv[1:]...)
	program.Stdout, program.Stderr = log, log
	if err := program.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = program.Wait(); close(ended) }()
	end = func() { cancel(); <-ended }
	late := time.After(limit)
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return end, nil
		}
		select {
		case <-ended:
			defer cancel()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("it ended at its start: %s", program.ProcessState)
		case <-late:
			end()
			return nil, fmt.Errorf("it did not answer on %s within %s", addr, limit)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mirrorConfig is the configuration of the mirror's registry.
func mirrorConfig(storage, addr string, readOnly bool) string {
	return fmt.Sprintf(`version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: %s
  maintenance:
    readonly:
      enabled: %t
http:
  addr: %s
`, storage, readOnly, addr)
}

// writeEnv writes what daggerw sources, in one rename.
func (a Airgap) writeEnv(s supply, key string, sets []string) error {
	pid, err := readPID(filepath.Join(a.state(), "engine.pid"))
	if err != nil {
		return err
	}
	// The tree this was built from, so that daggerw sees a changed supply
	// without asking Go; empty outside of Git.
	tree, _ := command{argv: []string{"git", "-C", a.Root, "rev-parse", "--verify", "--quiet", "HEAD:ci/airgap"}}.output(context.Background())
	text := fmt.Sprintf("airgap_id=%s\nairgap_key=%s\nairgap_tree=%s\nairgap_pid=%d\nairgap_dagger=%s\nairgap_host=%s\nairgap_sets=%s\n",
		containerID(a.state()), key, strings.TrimSpace(tree), pid, shellQuote(filepath.Join(a.store().Path(s.dagger), "bin/dagger")), shellQuote("unix://"+a.socket()), shellQuote(strings.Join(sets, " ")))
	tmp := a.envFile() + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, a.envFile())
}

// shellQuote is s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// running tells whether the engine with this key answers.
func (a Airgap) running(key string) bool {
	data, err := os.ReadFile(a.envFile())
	if err != nil || !strings.Contains(string(data), "airgap_key="+key+"\n") {
		return false
	}
	conn, err := net.Dial("unix", a.socket())
	if err != nil {
		return false
	}
	conn.Close()
	for _, what := range []string{"network", "mirror"} {
		if pid, err := readPID(filepath.Join(a.state(), what+".pid")); err != nil || !a.owns(pid) {
			return false
		}
	}
	return true
}

// owns tells whether the process is one that this supply started: its program
// or an argument lies below the cache directory.
func (a Airgap) owns(pid int) bool {
	args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(args), a.Cache+"/")
}

// stop ends the processes of this supply and removes its container.
func (a Airgap) stop(ctx context.Context) error {
	if err := os.Remove(a.envFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.stopClients()
	var errs []error
	runcs, _ := filepath.Glob(filepath.Join(a.Cache, "parts", "runc-*", "bin", "runc"))
	if len(runcs) > 0 {
		id := containerID(a.state())
		if _, err := os.Stat(filepath.Join(a.state(), "runc", id)); err == nil {
			runc := func(args ...string) error {
				return command{argv: append([]string{runcs[0], "--root", filepath.Join(a.state(), "runc")}, args...)}.run(ctx)
			}
			// Ask first: the engine flushes its databases, and one that does
			// not come to it discards its whole cache when it starts again.
			// Its end is no error, whatever it ends with.
			_ = runc("kill", id, "TERM")
			if pid, err := readPID(filepath.Join(a.state(), "engine.pid")); err == nil && !waitGone(pid, time.Minute) {
				fmt.Fprintln(a.Progress, "airgap: the engine does not end, a client may still be connected; it is killed, which costs its cache")
			}
			errs = append(errs, runc("delete", "--force", id))
		}
	}
	for _, what := range []string{"mirror", "network"} {
		file := filepath.Join(a.state(), what+".pid")
		pid, err := readPID(file)
		if err != nil {
			continue
		}
		if a.owns(pid) {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
			}
			waitGone(pid, 5*time.Second)
		}
		errs = append(errs, os.Remove(file))
	}
	return errors.Join(errs...)
}

// stopClients ends the commands of this supply's CLI that still run, and waits for it. Once told to end, the engine
// waits for its clients, and they for an answer from it.
func (a Airgap) stopClients() {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	var ended []int
	for _, link := range programs {
		program, err := os.Readlink(link)
		if err != nil {
			continue
		}
		if client, err := filepath.Match(filepath.Join(a.Cache, "parts", "dagger-*", "bin", "dagger"), program); err != nil || !client {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && syscall.Kill(pid, syscall.SIGTERM) == nil {
			ended = append(ended, pid)
		}
	}
	if len(ended) > 0 {
		fmt.Fprintf(a.Progress, "airgap: ending %d running dagger commands\n", len(ended))
	}
	for _, pid := range ended {
		waitGone(pid, 10*time.Second)
	}
}

// waitGone waits until the process has ended, and tells whether it has.
func waitGone(pid int, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); !gone(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// gone tells whether the process has ended. A zombie that nobody waits for has.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// Stop ends everything that runs and keeps what was built.
func (a Airgap) Stop(ctx context.Context) error {
	if _, err := os.Stat(a.Cache); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return a.stop(ctx)
}

// Down ends every process of the supply and removes every file it made, and
// the cache directory unless something else is in it: --cache may name a
// folder that was there before.
func (a Airgap) Down(ctx context.Context) error {
	if _, err := os.Stat(a.Cache); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// To the end: another run would start in a folder that is being removed.
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.stop(ctx); err != nil {
		return err
	}
	for _, made := range []string{"airgap", "engine.env", "engine.env.tmp", "sets", "sets.tmp", "state", "tmp", "build", "logs", "parts", "lock"} {
		if err := removeAll(filepath.Join(a.Cache, made)); err != nil {
			return err
		}
	}
	err = os.Remove(a.Cache)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}

func readPID(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return pid, nil
}

func tailOf(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-2000):])
}
