package cluster

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDockerd runs ci/kind/dockerd.sh, the daemon's start and end, with programs in the place of docker's and of those that
// make a disk, that note what they are told. What the real ones make of it needs a privileged container.
func TestDockerd(t *testing.T) {
	const (
		closed = "iptables -w -I INPUT -i br-+ -p tcp --dport 2375 -j REJECT"
		loop   = "mount -t ext4 -o loop,noatime,nobarrier,noinit_itable DIR/disk.ext4 DIR/disk"
		memory = "mount -t tmpfs kind DIR/disk"
		own    = "mount -o bind DIR/disk/volumes DIR/storage/volumes"
		open   = "dockerd --host=unix:///var/run/docker.sock --storage-driver=overlay2 --host=tcp://0.0.0.0:2375 --tls=false"
		remove = "docker rm --force --volumes c1 c2"
		ends   = "dockerd ends"
	)
	cases := map[string]struct {
		signal os.Signal
		// lacks is what the machine cannot do.
		lacks string
		want  []string
	}{
		"ended":          {signal: syscall.SIGTERM, want: []string{closed, loop, own, open, remove, ends}},
		"interrupted":    {signal: syscall.SIGINT, want: []string{closed, loop, own, open, remove, ends}},
		"no new device":  {signal: syscall.SIGTERM, lacks: "b 7", want: []string{closed, loop, own, open, remove, ends}},
		"no loop device": {signal: syscall.SIGTERM, lacks: "loop,", want: []string{closed, loop, memory, own, open, remove, ends}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// What one that was killed has left: an image's layer, and one that a container has written.
			layers := filepath.Join(dir, "storage/overlay2")
			for _, folder := range []string{"l", "image", "written"} {
				if err := os.MkdirAll(filepath.Join(layers, folder), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, layer := range []string{"image", "written"} {
				if err := os.Symlink("../"+layer, filepath.Join(layers, "l", layer)); err != nil {
					t.Fatal(err)
				}
			}
			known := filepath.Join(dir, "storage/image/overlay2/layerdb/sha256/0123")
			if err := errors.Join(os.MkdirAll(known, 0o755), os.WriteFile(filepath.Join(known, "cache-id"), []byte("image"), 0o644)); err != nil {
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
			run := file("kind-dockerd", strings.NewReplacer("=/var/lib/docker\n", "="+dir+"/storage\n", "=/kind\n", "="+dir+"/disk\n").Replace(string(script)))
			for _, program := range []string{"iptables", "mknod", "mkfs.ext4", "mount"} {
				lacks := ""
				if c.lacks != "" {
					lacks = "case $* in *'" + c.lacks + "'*) exit 1 ;; esac\n"
				}
				file(program, "#!/bin/sh\necho "+program+" \"$@\" >> "+dir+"/log\n"+lacks)
			}
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
				if l = strings.ReplaceAll(l, dir, "DIR"); slices.Contains(c.want, l) {
					got = append(got, l)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(log(), "\n"), strings.Join(c.want, "\n"))
			}
			// A file with a name would be in the engine for as long as it keeps this container's files.
			if _, err := os.Stat(filepath.Join(dir, "disk.ext4")); !os.IsNotExist(err) {
				t.Errorf("the disk has a name still: %v", err)
			}
			left, err := filepath.Glob(layers + "/*")
			if want := []string{layers + "/image", layers + "/l"}; err != nil || !slices.Equal(left, want) {
				t.Errorf("the layers are %q (%v), want %q", left, err, want)
			}
			if links, err := os.ReadDir(filepath.Join(layers, "l")); err != nil || len(links) != 1 || links[0].Name() != "image" {
				t.Errorf("the links are %v (%v), want that of the image", links, err)
			}
		})
	}
}
