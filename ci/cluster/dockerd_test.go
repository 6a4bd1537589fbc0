package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDockerd runs ci/kind/dockerd.sh, the daemon's start and end, with programs in the place of docker's that note what
// they are told. What the real ones make of it needs a privileged container.
func TestDockerd(t *testing.T) {
	const (
		closed  = "iptables -w -I INPUT -i br-+ -p tcp --dport 2375 -j REJECT"
		private = "dockerd --host=unix:///var/run/docker.sock --tls=false"
		open    = "dockerd --host=unix:///var/run/docker.sock --host=tcp://0.0.0.0:2375 --tls=false"
		remove  = "docker rm --force --volumes c1 c2"
		prune   = "docker volume prune --all --force"
		ends    = "dockerd ends"
	)
	cases := map[string]struct {
		left   string
		signal os.Signal
		want   []string
	}{
		"ended":            {signal: syscall.SIGTERM, want: []string{closed, open, remove, prune, ends}},
		"interrupted":      {signal: syscall.SIGINT, want: []string{closed, open, remove, prune, ends}},
		"after one killed": {left: "containers/c0", signal: syscall.SIGTERM, want: []string{closed, private, remove, prune, ends, open, remove, prune, ends}},
		"a volume is left": {left: "volumes/v0", signal: syscall.SIGTERM, want: []string{closed, private, remove, prune, ends, open, remove, prune, ends}},
		"images are left":  {left: "image", signal: syscall.SIGTERM, want: []string{closed, open, remove, prune, ends}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "storage", c.left), 0o755); err != nil {
				t.Fatal(err)
			}
			script, err := os.ReadFile("../kind/dockerd.sh")
			if err != nil {
				t.Fatal(err)
			}
			file := func(name, content string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			run := file("kind-dockerd", strings.ReplaceAll(string(script), "/var/lib/docker", filepath.Join(dir, "storage")))
			file("iptables", "#!/bin/sh\necho iptables \"$@\" >> "+dir+"/log\n")
			file("docker", `#!/bin/sh
case $1 in
version) [ -e `+dir+`/up ]; exit ;;
ps) echo c1; echo c2; exit ;;
esac
echo docker "$@" >> `+dir+`/log
`)
			file("dockerd-entrypoint.sh", `#!/bin/sh
trap 'rm `+dir+`/up; echo dockerd ends >> `+dir+`/log; exit 0' TERM
echo "$@" >> `+dir+`/log
touch `+dir+`/up
while [ -e "$0" ]; do sleep 0.01; done
`)
			// Only now: a program that is still open for writing in a child of another test cannot be run.
			t.Parallel()
			said, err := os.Create(filepath.Join(dir, "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			cmd := exec.CommandContext(t.Context(), run, "--tls=false")
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			cmd.Stderr = said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan error, 1)
			go func() { exited <- cmd.Wait() }()
			fails := func(format string, a ...any) {
				t.Helper()
				text, _ := os.ReadFile(said.Name())
				t.Fatalf(format+"; it says\n%s", append(a, text)...)
			}
			limit := time.After(time.Minute)
			log := func() []string {
				text, err := os.ReadFile(filepath.Join(dir, "log"))
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				return strings.Split(strings.TrimSpace(string(text)), "\n")
			}
			up := func() bool {
				_, err := os.Stat(filepath.Join(dir, "up"))
				return err == nil && slices.Contains(log(), open)
			}
			for !up() {
				select {
				case err := <-exited:
					fails("it ended before the daemon was up: %v", err)
				case <-limit:
					fails("the daemon is not up within a minute")
				case <-time.After(10 * time.Millisecond):
				}
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-exited:
				if err != nil {
					fails("it ended with %v", err)
				}
			case <-limit:
				fails("it does not end within a minute")
			}
			var got []string
			for _, l := range log() {
				if slices.Contains(c.want, l) {
					got = append(got, l)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(log(), "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
