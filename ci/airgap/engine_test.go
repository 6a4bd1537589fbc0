package airgap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestEngineConfig(t *testing.T) {
	t.Parallel()
	data, err := engineConfig([]string{"docker.io/library/a:1", "docker.io/b/c:2", "gcr.io/d@sha256:0"})
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Registries map[string]struct {
			Mirrors []string
			HTTP    bool
		}
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	if got := sortedKeys(config.Registries); !slices.Equal(got, []string{mirrorAddr, "docker.io", "gcr.io"}) {
		t.Errorf("registries are %v", got)
	}
	for _, host := range []string{"docker.io", "gcr.io"} {
		if r := config.Registries[host]; r.HTTP || !slices.Equal(r.Mirrors, []string{mirrorAddr}) {
			t.Errorf("%s is %+v", host, r)
		}
	}
	if r := config.Registries[mirrorAddr]; !r.HTTP || len(r.Mirrors) > 0 {
		t.Errorf("the mirror is %+v", r)
	}
}

func TestEngineSpec(t *testing.T) {
	t.Parallel()
	own, err := capability.NewPid2(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Load(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ certs bool }{"with certificates of the host": {true}, "without": {false}}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, err := engineSpec("/cache/state", "/cache/root", []string{"A=b"}, c.certs)
			if err != nil {
				t.Fatal(err)
			}
			var may []string
			for _, known := range capability.ListKnown() {
				if own.Get(capability.BOUNDING, known) {
					may = append(may, "CAP_"+strings.ToUpper(known.String()))
				}
			}
			caps := spec.Process.Capabilities
			for _, set := range [][]string{caps.Bounding, caps.Effective, caps.Permitted, caps.Inheritable, caps.Ambient} {
				for _, name := range set {
					if !slices.Contains(may, name) {
						t.Errorf("%s is not this process's to give", name)
					}
				}
			}
			if !slices.Equal(caps.Bounding, may) {
				t.Errorf("the bounding set is %v, want %v", caps.Bounding, may)
			}
			var binds []string
			for _, m := range spec.Mounts {
				if m.Type != "bind" {
					continue
				}
				binds = append(binds, m.Source+" "+m.Destination)
				if ro := slices.Contains(m.Options, "ro"); ro != (m.Destination == "/etc/dagger" || m.Destination == hostCertificates) {
					t.Errorf("%s is read-only: %t", m.Destination, ro)
				}
			}
			want := []string{
				"/dev /dev", "/cache/state/run /run/dagger", "/cache/state/lib /var/lib/dagger",
				"/cache/state/etc /etc/dagger", "/cache/state/resolv.conf /etc/resolv.conf",
			}
			if c.certs {
				want = append(want, hostCertificates+" "+hostCertificates)
			}
			if !slices.Equal(binds, want) {
				t.Errorf("the host's folders in it are %q, want %q", binds, want)
			}
			for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace} {
				if !slices.Contains(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind}) {
					t.Errorf("no %s namespace of its own", kind)
				}
			}
			if spec.Linux.CgroupsPath != "/"+containerID("/cache/state") || spec.Root.Path != "/cache/root" || !slices.Contains(spec.Process.Env, "A=b") {
				t.Errorf("group %s, root %s, environment %v", spec.Linux.CgroupsPath, spec.Root.Path, spec.Process.Env)
			}
			for _, l := range spec.Process.Rlimits {
				if l.Soft > l.Hard || l.Hard > 1<<20 {
					t.Errorf("limit %+v", l)
				}
			}
		})
	}
}

func TestContainerID(t *testing.T) {
	t.Parallel()
	one, two := containerID("/home/a/state"), containerID("/home/b/state")
	if one == two || one != containerID("/home/a/state") {
		t.Errorf("%s and %s", one, two)
	}
	if !strings.HasPrefix(one, "backstage-gitops-") || strings.ContainsAny(one, "/. ") {
		t.Errorf("%s is no name of a container", one)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		goos, goarch string
		uid          int
		want         error
	}{
		"root":                       {"linux", "amd64", 0, nil},
		"not root":                   {"linux", "amd64", 1000, ErrNeedsRoot},
		"another processor":          {"linux", "arm64", 0, ErrNeedsAMD64},
		"another processor, no root": {"linux", "arm64", 1000, ErrNeedsAMD64},
		"another system":             {"darwin", "amd64", 0, ErrNeedsAMD64},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fits(c.goos, c.goarch, c.uid); got != c.want {
				t.Errorf("the error is %v, want %v", got, c.want)
			}
		})
	}
}

func TestUpWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		// daggerw's test holds the sentence of a user who is not root.
		return
	}
	a := Airgap{Cache: filepath.Join(t.TempDir(), "cache"), Root: checkout, Progress: t.Output()}
	if err := a.Up(t.Context()); err != ErrNeedsRoot {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(a.Cache); !os.IsNotExist(err) {
		t.Error("it wrote something")
	}
}

func TestDown(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files, left []string
	}{
		"never made":     {nil, nil},
		"all its own":    {[]string{"airgap", "engine.env", "lock", "state/run/x", "parts/a-1/x", "logs/a.log", "tmp/x/y", "build/gomod/x"}, nil},
		"someone else's": {[]string{"engine.env", "parts/a-1/x", "mine/x"}, []string{"mine"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Airgap{Cache: filepath.Join(t.TempDir(), "cache"), Progress: t.Output()}
			for _, f := range c.files {
				f = filepath.Join(a.Cache, f)
				if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			var left []string
			entries, err := os.ReadDir(a.Cache)
			if err == nil && len(c.left) == 0 {
				t.Error("the cache directory is still there")
			}
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if !slices.Equal(left, c.left) {
				t.Errorf("left are %v, want %v", left, c.left)
			}
		})
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listening.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cases := map[string]struct {
		addr, script string
		limit        time.Duration
		interrupted  bool
		want         string
	}{
		"answers":       {addr: listening.Addr().String(), script: "exec sleep 60", limit: time.Minute},
		"dies":          {addr: closed.Addr().String(), script: "echo no such disk >&2; exit 3", limit: time.Minute, want: "it ended at its start: exit status 3"},
		"ends well":     {addr: closed.Addr().String(), script: "exit 0", limit: time.Minute, want: "it ended at its start: exit status 0"},
		"never answers": {addr: closed.Addr().String(), script: "exec sleep 60", limit: 50 * time.Millisecond, want: "it did not answer on " + closed.Addr().String() + " within 50ms"},
		"interrupted":   {addr: closed.Addr().String(), script: "exec sleep 60", limit: time.Minute, interrupted: true, want: context.Canceled.Error()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.interrupted {
				time.AfterFunc(50*time.Millisecond, cancel)
			}
			out := &tailWriter{limit: 100}
			start := time.Now()
			end, err := serve(ctx, out, c.addr, c.limit, "sh", "-c", c.script)
			if err == nil {
				end()
			}
			if got := fmt.Sprint(err); (err == nil) != (c.want == "") || err != nil && got != c.want {
				t.Errorf("the error is %q, want %q", got, c.want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if name == "dies" && out.String() != "no such disk\n" {
				t.Errorf("its last lines are %q", out)
			}
		})
	}
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		ended, want string
	}{
		"all run":          {"", ""},
		"without engine":   {"engine", "the engine ended at its start"},
		"without network":  {"network", "the network ended at its start"},
		"without a mirror": {"mirror", "the mirror ended at its start"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Short: a socket's path has 108 bytes at most.
			dir, err := os.MkdirTemp("", "ag")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			a := Airgap{Cache: dir, Progress: t.Output()}
			for _, d := range []string{filepath.Dir(a.socket()), filepath.Dir(a.log("engine"))} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, what := range []string{"engine", "network", "mirror"} {
				pid := os.Getpid()
				if what == c.ended {
					pid = ended.Process.Pid
				}
				for file, text := range map[string]string{filepath.Join(a.state(), what+".pid"): strconv.Itoa(pid), a.log(what): "what the " + what + " said\n"} {
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.ended == "" {
				l, err := net.Listen("unix", a.socket())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
			}
			err = a.waitReady(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want+"\n") || !strings.Contains(err.Error(), "what the "+c.ended+" said") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	a := Airgap{Cache: t.TempDir()}
	const full = "the disk is full: building takes up to 12.0 GB in "
	cases := map[string]struct {
		err         error
		interrupted bool
		want        string
	}{
		"nothing":                     {want: "<nil>"},
		"anything else":               {err: errors.New("exit status 1"), want: "exit status 1"},
		"a full disk":                 {err: fmt.Errorf("build x: %w", syscall.ENOSPC), want: full},
		"a full disk behind a server": {err: errors.New("PUT: 500\n    mkdir: no space left on device"), want: full},
		"an interrupt":                {err: errors.New("signal: killed"), interrupted: true, want: context.Canceled.Error()},
		"an interrupt at the end":     {interrupted: true, want: "<nil>"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.interrupted {
				cancel()
			}
			got := fmt.Sprint(a.explain(ctx, c.err))
			if c.want == full && (!strings.HasPrefix(got, full+a.Cache+", where ") || strings.Contains(got, "\n")) {
				t.Errorf("the error is %q", got)
			}
			if c.want != full && got != c.want {
				t.Errorf("the error is %q, want %q", got, c.want)
			}
		})
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	a := Airgap{Cache: filepath.Join(t.TempDir(), "cache"), Progress: &said}
	unlock, err := a.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an interrupted wait ends with %v", err)
	}
	if said.String() != "airgap: another run is at work here, waiting for it\n" {
		t.Errorf("it says %q", said.String())
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	again, err := a.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestInterruptedCommand: programs end with all that they have started, also
// those that do not listen.
func TestInterruptedCommand(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"listens":                 "sleep 60 & echo $!; wait",
		"a child does not listen": "(trap '' TERM; exec sleep 60) & echo $!; wait",
	}
	for name, script := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			said, saying := io.Pipe()
			ended := make(chan error, 1)
			// A log that is a pipe is what keeps a command waiting for grandchildren.
			go func() { ended <- command{argv: []string{"sh", "-c", script}, log: saying}.run(ctx) }()
			var child int
			if _, err := fmt.Fscan(said, &child); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, said) }()
			cancel()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("it is no error")
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it does not end")
			}
			waitGone(child, 5*time.Second)
			if !gone(child) {
				t.Error("its child runs on")
			}
		})
	}
}

// TestStopLeavesOthersAlone: a process id that now belongs to someone else.
func TestStopLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	a := Airgap{Cache: filepath.Join(t.TempDir(), "cache"), Progress: t.Output()}
	if err := os.MkdirAll(a.state(), 0o755); err != nil {
		t.Fatal(err)
	}
	if a.owns(os.Getpid()) {
		t.Fatal("this process is not the supply's")
	}
	pid := filepath.Join(a.state(), "network.pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := readPID(pid); err != nil || got != os.Getpid() {
		t.Fatal(got, err)
	}
	_ = os.Remove(pid)
	if _, err := readPID(pid); err == nil {
		t.Error("a missing file is no error")
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStopEndsItsClients: the engine does not end while one is connected.
func TestStopEndsItsClients(t *testing.T) {
	t.Parallel()
	a := Airgap{Cache: filepath.Join(t.TempDir(), "cache"), Progress: t.Output()}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	start := func(folder string) *exec.Cmd {
		program := filepath.Join(a.Cache, folder, "dagger")
		if err := copyFiles(map[string]string{sleep: program}); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	client, other := start("parts/dagger-0123456789ab/bin"), start("elsewhere")
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if !gone(client.Process.Pid) {
		t.Error("a command of the supply's CLI runs on")
	}
	if gone(other.Process.Pid) {
		t.Error("a process that is not the supply's was ended")
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"/a/b", "/home/A B/x", "it's", "$(x) `y` \"z\" \\"} {
		out, err := command{argv: []string{"sh", "-c", "printf %s " + shellQuote(s)}}.output(t.Context())
		if err != nil || out != s {
			t.Errorf("%q becomes %q, %v", s, out, err)
		}
	}
}
