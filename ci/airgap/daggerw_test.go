package airgap

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine stands for a computer that daggerw finds itself on: a PATH with
// programs that say what they were called with, a home and no more.
type machine struct {
	t *testing.T
	// bin has the programs that stand in; tools has links to real ones, and
	// nothing is ever written there, as writing would follow the links.
	bin, tools, home, tmp string
	env                   []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, bin: filepath.Join(dir, "bin"), tools: filepath.Join(dir, "tools"), home: filepath.Join(dir, "home"), tmp: filepath.Join(dir, "tmp")}
	for _, d := range []string{m.bin, m.tools, m.home, m.tmp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range []string{"sh", "tr", "mktemp", "rm", "mv", "mkdir", "grep", "sha256sum", "tar", "gzip", "cat", "cp", "sleep", "touch"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.tools, tool)); err != nil {
			t.Fatal(err)
		}
	}
	m.program("id", "echo 1000")
	m.system("Linux", "x86_64")
	return m
}

// system is what `uname -s` and `uname -m` say.
func (m *machine) system(name, processor string) {
	m.program("uname", "case $1 in -s) echo "+name+" ;; -m) echo "+processor+" ;; esac")
}

func (m *machine) program(name, script string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// docker gives the machine a runtime that answers on a socket.
func (m *machine) docker() {
	m.t.Helper()
	m.program("docker", "exit 9")
	// Short: a socket's path has 108 bytes at most.
	dir, err := os.MkdirTemp("", "dw")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close() })
	m.env = append(m.env, "DOCKER_HOST=unix://"+filepath.Join(dir, "s"))
}

func (m *machine) dagger(version string) {
	m.program("dagger", `if [ "$1" = version ]; then echo "dagger `+version+` (x) linux/amd64"; exit; fi
printf 'installed:'; printf ' [%s]' "$@"`)
}

// release makes curl answer with a release for Linux; sum overrides its checksum.
func (m *machine) release(sum string) { m.releaseFor("linux_amd64", sum) }

func (m *machine) releaseFor(platform, sum string) {
	m.t.Helper()
	cli := "#!/bin/sh\nprintf 'downloaded:'; printf ' [%s]' \"$@\"\n"
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "dagger", Mode: 0o755, Size: int64(len(cli))}); err != nil {
		m.t.Fatal(err)
	}
	_, _ = w.Write([]byte(cli))
	_, _ = w.Close(), z.Close()
	name := "dagger_" + pinned("dagger").Version + "_" + platform + ".tar.gz"
	if sum == "" {
		sum = fmt.Sprintf("%x", sha256.Sum256(archive.Bytes()))
	}
	served := m.t.TempDir()
	for file, data := range map[string]string{"archive": archive.String(), "checksums": sum + "  " + name + "\n"} {
		if err := os.WriteFile(filepath.Join(served, file), []byte(data), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	m.program("curl", `while [ "$1" != -o ]; do shift; done
case $3 in */checksums.txt) cp `+served+`/checksums "$2" ;; */`+name+`) cp `+served+`/archive "$2" ;; *) exit 22 ;; esac`)
}

// engineEnv leaves what `airgap up` leaves: the lines, and where the CLI is.
func (m *machine) engineEnv(lines string) {
	m.t.Helper()
	file := filepath.Join(m.home, ".cache/backstage-gitops/airgap/engine.env")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	lines += fmt.Sprintf("airgap_dagger=%s\nairgap_host=%s\n", shellQuote(filepath.Join(m.bin, "airdagger")), shellQuote("unix:///s"))
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// supply makes Go build a program that does this as `airgap up`; this user is root.
func (m *machine) supply(up string) {
	m.t.Helper()
	m.program("id", "echo 0")
	m.program("built", up)
	m.program("go", `while [ "$1" != -o ]; do shift; done; cp `+m.bin+`/built "$2"`)
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), checkout+"/daggerw", args...)
	cmd.Env = append([]string{"PATH=" + m.bin + ":" + m.tools, "HOME=" + m.home, "TMPDIR=" + m.tmp}, m.env...)
	return cmd
}

func (m *machine) daggerw(args ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	cmd := m.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestDaggerw(t *testing.T) {
	t.Parallel()
	version := pinned("dagger").Version
	cases := map[string]struct {
		setup          func(m *machine)
		stdout, stderr string
		code           int
	}{
		"the installed one fits": {func(m *machine) { m.docker(); m.dagger(version) }, "installed: [call] [a b]", "", 0},
		"another is installed":   {func(m *machine) { m.docker(); m.dagger(version + "1"); m.release("") }, "downloaded: [call] [a b]", "downloading", 0},
		"none is installed":      {func(m *machine) { m.docker(); m.release("") }, "downloaded: [call] [a b]", "downloading", 0},
		"wrong checksum":         {func(m *machine) { m.docker(); m.release(strings.Repeat("0", 64)) }, "", "does not match its checksum: nothing was installed", 1},
		"download refused":       {func(m *machine) { m.docker(); m.program("curl", "exit 22") }, "", "cannot be downloaded", 1},
		"no runtime, not root":   {func(m *machine) { m.dagger(version) }, "", ErrNeedsRoot.Error(), 1},
		"another processor":      {func(m *machine) { m.docker(); m.system("Linux", "aarch64"); m.releaseFor("linux_arm64", "") }, "downloaded: [call] [a b]", "downloading", 0},
		"another system":         {func(m *machine) { m.docker(); m.system("Darwin", "arm64"); m.releaseFor("darwin_arm64", "") }, "downloaded: [call] [a b]", "downloading", 0},
		"an unknown processor":   {func(m *machine) { m.docker(); m.system("Linux", "mips") }, "", "no official Dagger CLI for mips", 1},
		"no runtime, processor":  {func(m *machine) { m.system("Linux", "aarch64") }, "", ErrNeedsAMD64.Error(), 1},
		"no runtime, system":     {func(m *machine) { m.system("Darwin", "x86_64") }, "", ErrNeedsAMD64.Error(), 1},
		"no runtime, no Go":      {func(m *machine) { m.program("id", "echo 0") }, "", "Go to build one is not on the PATH", 1},
		"Go fails":               {func(m *machine) { m.program("id", "echo 0"); m.program("go", "exit 7") }, "", "", 7},
		"the supply fails":       {func(m *machine) { m.supply("echo no disk >&2; exit 9") }, "", "no disk", 9},
		"bogus choice":           {func(m *machine) { m.env = append(m.env, "DAGGERW=bogus") }, "", `DAGGERW is "bogus"`, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if _, err := os.Stat("/var/run/docker.sock"); err == nil {
				m.env = append(m.env, "DOCKER_HOST=unix:///nonexistent")
			}
			c.setup(m)
			out, errs, code := m.daggerw("call", "a b")
			if out != c.stdout || !strings.Contains(errs, c.stderr) || code != c.code {
				t.Errorf("exit %d\nstdout %q\nstderr %q", code, out, errs)
			}
			if code == 1 && !strings.HasPrefix(errs, "daggerw: ") {
				t.Errorf("it says %q", errs)
			}
			if installed, _ := filepath.Glob(filepath.Join(m.home, ".cache/backstage-gitops/*/dagger")); code != 0 && len(installed) > 0 {
				t.Errorf("installed %v", installed)
			}
			if left, _ := os.ReadDir(m.tmp); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

// TestDaggerwSets: which words have the cluster's images made, and when.
func TestDaggerwSets(t *testing.T) {
	t.Parallel()
	const none, core, cluster, flannel, both, bench = "", "up\n", "up --set cluster\n", "up --set flannel\n", "up --set cluster,flannel\n", "up --set bench\n"
	cases := map[string]struct {
		words, sets string
		// fresh is what `airgap` is called with where no engine runs, running
		// where one does that has these sets.
		fresh, running string
	}{
		"version":                     {"version", "core", core, none},
		"no words":                    {"", "core", core, none},
		"image":                       {"call image", "core", core, none},
		"e2e":                         {"call e2e", "core", cluster, cluster},
		"e2e, an earlier supply":      {"call e2e", "", cluster, cluster},
		"e2e again":                   {"call e2e", "core cluster", cluster, none},
		"e2e, and more":               {"call e2e report export --path out", "core cluster other", cluster, none},
		"e2e, a set that is not it":   {"call e2e", "core clusters", cluster, cluster},
		"e2e, help":                   {"call e2e --help", "core", core, none},
		"cluster":                     {"call cluster up", "core", cluster, cluster},
		"workers":                     {"call e2e --workers 2", "core cluster", both, flannel},
		"workers, another way":        {"-m ci/kind call cluster --workers=2", "core cluster", both, flannel},
		"workers, nothing there":      {"call e2e --workers 2", "core", both, both},
		"workers again":               {"call e2e --workers=2", "core cluster flannel", both, none},
		"a feature":                   {"call e2e --features tls", "core cluster", "up --set cluster,postgres,cert-manager\n", "up --set postgres,cert-manager\n"},
		"features":                    {"call e2e --features=hpa,metrics --workers 0", "core cluster postgres", "up --set cluster,postgres,metrics-server,prometheus\n", "up --set metrics-server,prometheus\n"},
		"features, a bucket":          {"call e2e --features s3", "core cluster", "up --set cluster,postgres,s3\n", "up --set postgres,s3\n"},
		"features, traces":            {"call e2e --features traces", "core cluster", "up --set cluster,otel\n", "up --set otel\n"},
		"features, notifications":     {"call e2e --features notifications", "core cluster", "up --set cluster,otel\n", "up --set otel\n"},
		"features, policies":          {"call e2e --features networkpolicy", "core cluster", "up --set cluster,postgres,flannel,calico,s3,otel\n", "up --set postgres,flannel,calico,s3,otel\n"},
		"features, external secrets":  {"call e2e --features=external-secrets", "core cluster", "up --set cluster,external-secrets\n", "up --set external-secrets\n"},
		"features, one by one":        {"call e2e --features tls --features postgres", "core cluster postgres", "up --set cluster,postgres,cert-manager\n", "up --set cert-manager\n"},
		"all features":                {"call e2e --workers 2 --features all", "core cluster flannel postgres", "up --set cluster,flannel,postgres,cert-manager,metrics-server,flannel,calico,prometheus,s3,otel,external-secrets\n", "up --set cert-manager,metrics-server,calico,prometheus,s3,otel,external-secrets\n"},
		"features of something else":  {"call image --features all", "core", core, none},
		"no workers":                  {"call e2e --workers=0", "core cluster", cluster, none},
		"workers of something else":   {"call image --workers=2", "core", core, none},
		"rollback":                    {"call rollback", "core", cluster, cluster},
		"rolled-back":                 {"call rolled-back report export --path out", "core", cluster, cluster},
		"promote":                     {"call promote --to staging", "core", core, none},
		"released":                    {"call released report export --path out", "core", cluster, cluster},
		"check":                       {"check", "core", cluster, cluster},
		"check, with flags":           {"--progress plain check --debug", "core", cluster, cluster},
		"check, acceptance":           {"check acceptance", "core", cluster, cluster},
		"acceptance":                  {"call acceptance", "core", cluster, cluster},
		"check, one of a group":       {"check app:lint", "core", core, none},
		"check, some":                 {"check go-test reproducible-check", "core", core, none},
		"check, the proof among some": {"check go-test proof-check", "core", cluster, cluster},
		"release, a URL":              {"call release --remote https://example.org/a-test", "core", cluster, cluster},
		"proof-check":                 {"call proof-check", "core", cluster, cluster},
		"bench-cluster":               {"call bench-cluster", "core", cluster, cluster},
		"proof-check, with flags":     {"--progress=plain call proof-check", "core", cluster, cluster},
		"checks, listed":              {"check --list", "core", core, none},
		"release":                     {"call release", "core", cluster, cluster},
		"release, verified":           {"call release --verify=true", "core", cluster, cluster},
		"release, not verified":       {"call release --verify=false", "core", core, none},
		"release, not verified first": {"call --x release --verify=false --image e", "core", core, none},
		"something like release":      {"call release-notes", "core", core, none},
		"kind":                        {"-m ci/kind call cluster", "core", cluster, cluster},
		"kind, another way":           {"-m=./ci/kind functions", "core", cluster, cluster},
		"argocd":                      {"-m ./ci/argocd call install", "core", cluster, cluster},
		"bench":                       {"call bench", "core cluster", bench, bench},
		"bench again":                 {"call bench --starts 3", "bench core", bench, none},
		"bench, help":                 {"call bench --help", "core", core, none},
		"argocd as a function":        {"call argocd", "core", cluster, cluster},
	}
	for name, c := range cases {
		for state, want := range map[string]string{"fresh": c.fresh, "running": c.running} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				m.env = append(m.env, "DAGGERW=airgap")
				m.supply(`echo "$@" >&2; exit 3`)
				m.program("git", "echo tree")
				m.program("airdagger", "exit 0")
				if state == "running" {
					lines := fmt.Sprintf("airgap_id=:\nairgap_tree=tree\nairgap_pid=%d\n", os.Getpid())
					if c.sets != "" {
						lines += "airgap_sets=" + shellQuote(c.sets) + "\n"
					}
					m.engineEnv(lines)
				}
				_, errs, code := m.daggerw(strings.Fields(c.words)...)
				if errs != want || (code == 3) != (want != none) {
					t.Errorf("exit %d, the supply is called with %q, want %q", code, errs, want)
				}
			})
		}
	}
}

// The CLI knows the function e2e by another name. A flag's value, such as a branch, stays.
func TestDaggerwNamesE2e(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ args, want []string }{
		"the function": {
			[]string{"call", "e2e", "report", "export", "--path", "a b/e2e", ""},
			[]string{"call", "e-2-e", "report", "export", "--path", "a b/e2e", ""},
		},
		"a flag's value":            {[]string{"call", "release", "--branch", "e2e"}, []string{"call", "release", "--branch", "e2e"}},
		"a value with a sign":       {[]string{"call", "release", "--branch=e2e"}, []string{"call", "release", "--branch=e2e"}},
		"after a flag with a value": {[]string{"call", "--url=x", "e2e"}, []string{"call", "--url=x", "e-2-e"}},
		"after a value":             {[]string{"call", "--url", "x", "e2e"}, []string{"call", "--url", "x", "e-2-e"}},
		"after a switch":            {[]string{"call", "--ephemeral", "e2e"}, []string{"call", "--ephemeral", "e-2-e"}},
		"after Dagger's own switch": {[]string{"call", "--silent", "e2e"}, []string{"call", "--silent", "e-2-e"}},
		"after a short switch":      {[]string{"-q", "call", "e2e", "-o", "out"}, []string{"-q", "call", "e-2-e", "-o", "out"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.env = append(m.env, "DAGGERW=airgap")
			m.program("git", "echo tree")
			m.program("airdagger", `printf '<%s>' "$@"`)
			m.engineEnv(fmt.Sprintf("airgap_id=:\nairgap_tree=tree\nairgap_pid=%d\nairgap_sets='core cluster'\n", os.Getpid()))
			out, errs, _ := m.daggerw(c.args...)
			if want := "<" + strings.Join(c.want, "><") + ">"; out != want {
				t.Errorf("dagger is called with %s (%s), want %s", out, errs, want)
			}
		})
	}
}

// TestDaggerwInterrupted: the supply ends before daggerw does, whoever of them
// was told to end.
func TestDaggerwInterrupted(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"interrupt": syscall.SIGINT, "termination": syscall.SIGTERM, "hang-up": syscall.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.env = append(m.env, "DAGGERW=airgap")
			started, cleaned := filepath.Join(m.home, "started"), filepath.Join(m.home, "cleaned")
			m.supply("trap 'sleep 0.3; touch " + cleaned + "; exit 130' TERM\ntouch " + started + "\nwhile :; do sleep 0.05; done")
			cmd := m.command("call")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(started); err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the supply was not started")
				}
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit %d", code)
			}
			if _, err := os.Stat(cleaned); err != nil {
				t.Error("it did not wait for the supply to end")
			}
		})
	}
}

// TestDaggerwRunningSupply: the engine is used if it runs, is this supply's and
// is of this checkout; otherwise the supply is started, for which this machine
// lacks the rights, and says so.
func TestDaggerwRunningSupply(t *testing.T) {
	t.Parallel()
	// Killed and waited for by nobody: it has a number and control groups still.
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = zombie.Wait() })
	waitGone(zombie.Process.Pid, 10*time.Second)
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", zombie.Process.Pid)); err != nil || !strings.Contains(string(stat), ") Z ") {
		t.Fatalf("not a zombie: %s, %v", stat, err)
	}
	// Every line of a process's control groups has a colon.
	const own = ":"
	cases := map[string]struct {
		id, tree string
		pid      int
		runs     bool
	}{
		"it runs":                       {own, "tree", os.Getpid(), true},
		"killed, and a zombie remains":  {own, "tree", zombie.Process.Pid, false},
		"gone":                          {own, "tree", 1 << 22, false},
		"its number is someone else's":  {"another-container", "tree", os.Getpid(), false},
		"the checkout's supply changed": {own, "earlier", os.Getpid(), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.program("git", "echo tree")
			m.program("airdagger", `printf '%s' "$_EXPERIMENTAL_DAGGER_RUNNER_HOST"; printf ' [%s]' "$@"`)
			m.env = append(m.env, "DAGGERW=airgap")
			m.engineEnv(fmt.Sprintf("airgap_id=%s\nairgap_tree=%s\nairgap_pid=%d\n", c.id, c.tree, c.pid))
			out, errs, code := m.daggerw("call", "a b")
			if c.runs && (out != "unix:///s [call] [a b]" || code != 0) {
				t.Errorf("exit %d\nstdout %q\nstderr %q", code, out, errs)
			}
			if !c.runs && (out != "" || code != 1 || !strings.Contains(errs, "not root")) {
				t.Errorf("it is used: exit %d\nstdout %q\nstderr %q", code, out, errs)
			}
		})
	}
}
