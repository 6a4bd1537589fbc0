package chart_test

import (
	"bufio"
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The scripts of backup and restore run with stand-ins for PostgreSQL's tools and rclone, which write down how they were
// called. That the real ones understand it is the cluster proof's matter.
func TestScripts(t *testing.T) {
	t.Parallel()
	const (
		old    = "backstage-20260101T000000Z.dump"
		newer  = "backstage-20260102T000000Z.dump"
		newest = "backstage-20260103T000000Z.dump"
	)
	// Old enough for any number of days: the clock stands at 4 January 2026, and knows a day before it.
	const clock = `case "$*" in +%s) echo 345600 ;; *@259200*) echo 20260103T000000Z ;; *@345600*) echo 20260104T000000Z ;; *) echo 20260104T000000Z ;; esac`
	const reloads = "--no-psqlrc --quiet --host=/run --port=5432 --username=u --dbname=d --command=select pg_reload_conf()"
	dump := `while [ $# -gt 0 ]; do case $1 in --file=*) echo dump > "${1#--file=}" ;; esac; shift; done`
	cases := map[string]struct {
		script string
		env    []string
		files  []string
		// small are those of files with next to nothing in them.
		small []string
		tools map[string]string
		fails bool
		// keeps and goes are what is there at the end, and what is not; calls is part of what was called.
		keeps, goes []string
		calls, says string
		// ends says that nothing was called after calls.
		ends bool
	}{
		"dump keeps the newest": {
			script: "dump.sh", env: []string{"KEEP=2", "KEEP_DAYS=0"}, files: []string{old, newer, "." + old + ".part", "notes.txt"},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "", "date": clock},
			keeps: []string{"backstage-20260104T000000Z.dump", newer, "notes.txt"}, goes: []string{old, "." + old + ".part"},
			calls: "pg_restore --list .backstage-20260104T000000Z.dump.part",
		},
		"dump that fails removes nothing but its own part": {
			script: "dump.sh", env: []string{"KEEP=1", "KEEP_DAYS=0"}, files: []string{old, newer},
			tools: map[string]string{"pg_dump": dump + "\nexit 1", "pg_restore": "", "date": clock}, fails: true,
			keeps: []string{old, newer}, goes: []string{".backstage-20260104T000000Z.dump.part"},
		},
		"dump that cannot be read removes nothing and has no name": {
			script: "dump.sh", env: []string{"KEEP=1", "KEEP_DAYS=0"}, files: []string{old, newer},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "exit 1", "date": clock}, fails: true,
			keeps: []string{old, newer}, goes: []string{"backstage-20260104T000000Z.dump", ".backstage-20260104T000000Z.dump.part"},
		},
		"dump leaves alone what it has not named": {
			script: "dump.sh", env: []string{"KEEP=1", "KEEP_DAYS=0"}, files: []string{old, newer, "backstage-20250101T000000Z copy.dump", "backstage-before-upgrade.dump", "backstage-a\nb.dump"},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "", "date": clock},
			keeps: []string{"backstage-20260104T000000Z.dump", "backstage-20250101T000000Z copy.dump", "backstage-before-upgrade.dump", "backstage-a\nb.dump"}, goes: []string{old, newer},
		},
		"upload leaves alone what it has not named": {
			script: "upload.sh", env: []string{"KEEP=1", "KEEP_DAYS=0", "BUCKET=bucket:b/p"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in lsf) echo "9 backstage-20250101T000000Z copy.dump"; echo "9 ` + newest + `"; echo "9 ` + old + `"; echo "9 backstage-x.dump" ;; esac`, "date": clock},
			calls: "rclone lsf --files-only --format sp --separator   --include backstage-*.dump bucket:b/p\n",
		},
		"upload removes nothing but dumps": {
			script: "upload.sh", env: []string{"KEEP=1", "KEEP_DAYS=0", "BUCKET=bucket:b/p"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in lsf) echo "9 backstage-20250101T000000Z copy.dump"; echo "9 ` + newest + `"; echo "9 ` + old + `"; echo "9 backstage-x.dump" ;; esac`, "date": clock},
			calls: "%SZ\nrclone deletefile bucket:b/p/" + old + "\n", ends: true,
		},
		"download takes no copy for the newest": {
			script: "download.sh", env: []string{"FROM=latest", "BUCKET=bucket:b"},
			tools: map[string]string{"rclone": `case $* in "lsf --files-only"*) printf '%s\n' ` + newest + ` backstage-before-upgrade.dump "` + newest + ` copy.dump" ;; esac`},
			calls: "rclone copyto bucket:b/" + newest + " ",
		},
		"restore takes no copy for the newest": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d"}, files: []string{old, newest, "backstage-before-upgrade.dump"},
			tools: map[string]string{"pg_restore": "echo sql", "psql": "echo 0"},
			calls: "--single-transaction", says: "restored d from " + newest,
		},
		"restore takes a dump of another name": {
			script: "restore.sh", env: []string{"FROM=backstage-before-upgrade.dump", "PGDATABASE=d"}, files: []string{old, "backstage-before-upgrade.dump"},
			tools: map[string]string{"pg_restore": "echo sql", "psql": "echo 0"},
			calls: "--single-transaction", says: "restored d from backstage-before-upgrade.dump",
		},
		"upload keeps the newest": {
			script: "upload.sh", env: []string{"KEEP=1", "KEEP_DAYS=0", "BUCKET=bucket:b/p"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in lsf) printf '9 %s\n' ` + newer + " " + newest + " " + old + ` ;; esac`, "date": clock},
			keeps: []string{newest}, calls: "rclone deletefile bucket:b/p/" + newer + "\nrclone deletefile bucket:b/p/" + old,
		},
		"dump keeps what is younger than the days": {
			script: "dump.sh", env: []string{"KEEP=1", "KEEP_DAYS=1"}, files: []string{old, newer, newest},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "", "date": clock},
			keeps: []string{"backstage-20260104T000000Z.dump", newest}, goes: []string{old, newer},
		},
		"dump after a loss keeps those from before it": {
			script: "dump.sh", env: []string{"KEEP=2", "KEEP_DAYS=0"}, files: []string{old, newer, newest}, small: []string{newest},
			tools: map[string]string{"pg_dump": strings.Replace(dump, "echo dump", "printf x", 1), "pg_restore": "", "date": clock},
			keeps: []string{"backstage-20260104T000000Z.dump", newest, newer, old}, says: "warning: backstage-20260104T000000Z.dump has 1 bytes",
		},
		"dumps after a loss go as well": {
			script: "dump.sh", env: []string{"KEEP=1", "KEEP_DAYS=0"}, files: []string{old, newer, newest}, small: []string{newest},
			tools: map[string]string{"pg_dump": strings.Replace(dump, "echo dump", "printf x", 1), "pg_restore": "", "date": clock},
			keeps: []string{"backstage-20260104T000000Z.dump", newer}, goes: []string{newest, old},
		},
		"upload after a loss keeps those from before it": {
			script: "upload.sh", env: []string{"KEEP=1", "KEEP_DAYS=0", "BUCKET=bucket:b/p"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in lsf) echo 100 ` + old + `; echo 10 ` + newer + `; echo 10 ` + newest + ` ;; esac`, "date": clock},
			calls: "%SZ\nrclone deletefile bucket:b/p/" + newer + "\n", says: "warning: " + newest, ends: true,
		},
		"upload that did not arrive removes nothing": {
			script: "upload.sh", env: []string{"KEEP=1", "BUCKET=bucket:b"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in check) exit 1 ;; lsf) echo ` + old + ` ;; esac`}, fails: true,
			calls: "rclone check",
		},
		"download takes the newest": {
			script: "download.sh", env: []string{"FROM=latest", "BUCKET=bucket:b"},
			tools: map[string]string{"rclone": `case $1 in lsf) printf '%s\n' ` + newest + " " + old + ` ;; esac`},
			calls: "rclone copyto bucket:b/" + newest + " ",
		},
		"download of nothing": {
			script: "download.sh", env: []string{"FROM=latest", "BUCKET=bucket:b"}, tools: map[string]string{"rclone": ""},
			fails: true, says: "there is no dump in bucket:b",
		},
		"restore takes the newest": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d"}, files: []string{old, newest, "notes.txt"},
			tools: map[string]string{"pg_restore": "echo sql", "psql": "echo 0"},
			calls: "--single-transaction", says: "restored d from " + newest,
		},
		"restore of what is not there": {
			script: "restore.sh", env: []string{"FROM=" + newer, "PGDATABASE=d"}, files: []string{old},
			tools: map[string]string{"pg_restore": "", "psql": ""}, fails: true, says: "there is no dump " + newer + ", but: " + old,
		},
		"restore of nothing": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d"},
			tools: map[string]string{"pg_restore": "", "psql": ""}, fails: true, says: "there is no dump at all",
		},
		"restore of what cannot be read touches nothing": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d"}, files: []string{old},
			tools: map[string]string{"pg_restore": "exit 1", "psql": `echo touched >&2`}, fails: true,
		},
		"restore waits for sessions, and says so": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d", "PAUSE=0"}, files: []string{old},
			tools: map[string]string{"pg_restore": "", "psql": "echo 3"}, fails: true, says: "3 sessions still use d",
		},
		"reload tells the server of a certificate that has changed, and of no other": {
			script: "reload.sh", env: []string{"SOCKET_DIR=/run", "POSTGRES_USER=u", "POSTGRES_DB=d"}, files: []string{"tls.crt", "tls.key"},
			// What happens in each pause; the last one does not come back.
			tools: map[string]string{"psql": "", "sleep": `case $(grep -c sleep "${0%/*}/calls") in 3) echo renewed > "$TLS_DIR/tls.crt" ;; 5) exit 1 ;; esac`},
			calls: "sleep 30\npsql " + reloads + "\nsleep 30\nsleep 30\npsql " + reloads + "\nsleep 30\nsleep 30\n", ends: true,
		},
		"reload tries again": {
			script: "reload.sh", env: []string{"SOCKET_DIR=/run", "POSTGRES_USER=u", "POSTGRES_DB=d"}, files: []string{"tls.crt", "tls.key"},
			tools: map[string]string{"psql": "echo refused >&2; exit 2", "sleep": `case $(grep -c sleep "${0%/*}/calls") in 3) exit 1 ;; esac`},
			calls: "sleep 30\npsql " + reloads + "\nsleep 30\npsql " + reloads + "\nsleep 30\n", ends: true, says: "refused",
		},
		"reload as the Secret's user": {
			script: "reload.sh", env: []string{"SOCKET_DIR=/run", "POSTGRES_USER=u", "PORTAL_USER=p", "POSTGRES_DB=d"}, files: []string{"tls.crt", "tls.key"},
			tools: map[string]string{"psql": `case $* in *--username=u*) exit 2 ;; esac`, "sleep": `case $(grep -c sleep "${0%/*}/calls") in 3) exit 1 ;; esac`},
			calls: "sleep 30\npsql " + reloads + "\npsql " + strings.Replace(reloads, "=u ", "=p ", 1) + "\nsleep 30\nsleep 30\n", ends: true, says: "was told",
		},
		"restore without a server": {
			script: "restore.sh", env: []string{"FROM=latest", "PGDATABASE=d", "PAUSE=0"}, files: []string{old},
			tools: map[string]string{"pg_restore": "", "psql": "echo refused >&2; exit 2"}, fails: true, says: "refused",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backups, bin := t.TempDir(), t.TempDir()
			for _, file := range c.files {
				content := []byte("dump")
				if slices.Contains(c.small, file) {
					content = content[:1]
				}
				if err := os.WriteFile(filepath.Join(backups, file), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, tool := range slices.Sorted(maps.Keys(c.tools)) {
				text := "#!/bin/sh\necho \"" + tool + " $*\" >> " + bin + "/calls\n" + c.tools[tool] + "\n"
				if err := os.WriteFile(filepath.Join(bin, tool), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, "files", c.script))
			cmd.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "BACKUP_DIR=" + backups, "TLS_DIR=" + backups, "PGDATABASE=d", "TMPDIR=" + t.TempDir()}, c.env...)
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "touched") {
				t.Errorf("ends with %v and says\n%s", err, out)
			}
			calls, _ := os.ReadFile(filepath.Join(bin, "calls"))
			if !strings.Contains(string(calls), c.calls) {
				t.Errorf("%q is not in what was called:\n%s", c.calls, calls)
			}
			if c.ends && !strings.HasSuffix(string(calls), c.calls) {
				t.Errorf("more was called:\n%s", calls)
			}
			if c.fails && strings.Contains(string(calls), "deletefile") {
				t.Errorf("something was removed:\n%s", calls)
			}
			for _, file := range c.keeps {
				if _, err := os.Stat(filepath.Join(backups, file)); err != nil {
					t.Errorf("%s is gone", file)
				}
			}
			for _, file := range c.goes {
				if _, err := os.Stat(filepath.Join(backups, file)); err == nil {
					t.Errorf("%s is still there", file)
				}
			}
		})
	}
}

// The drain of a node sends TERM, and the runtime the image's own stop signal, which is INT. A first process that handles
// neither holds the pod until it is killed.
func TestEndsWhenTold(t *testing.T) {
	t.Parallel()
	for script, c := range map[string]struct {
		// tool is what the script waits for, and code that of its end.
		tool string
		code int
	}{
		"reload.sh": {"sleep", 0},
		"dump.sh":   {"pg_dump", 143},
	} {
		for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(script+" "+signal.String(), func(t *testing.T) {
				t.Parallel()
				bin, backups := t.TempDir(), t.TempDir()
				// The tool says that it has begun, as a dump with a part of it, and has no end of its own.
				tool := "#!/bin/sh\ncase $4 in --file=*) echo part > \"${4#--file=}\" ;; esac\necho begun\nexec tail -f /dev/null\n"
				if err := os.WriteFile(filepath.Join(bin, c.tool), []byte(tool), 0o755); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, "sh", filepath.Join(dir, "files", script))
				cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "BACKUP_DIR=" + backups}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// What is left of it would hold the pipe.
				end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
				defer context.AfterFunc(ctx, end)()
				defer end()
				if line, err := bufio.NewReader(out).ReadString('\n'); line != "begun\n" {
					t.Fatalf("%q, %v", line, err)
				}
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				// The tool holds the pipe: that it closes says that the tool has ended too.
				if _, err := io.Copy(io.Discard, out); err != nil {
					t.Error(err)
				}
				if err := cmd.Wait(); cmd.ProcessState.ExitCode() != c.code {
					t.Errorf("%v, want the end with code %d", err, c.code)
				}
				if left, err := os.ReadDir(backups); err != nil || len(left) > 0 {
					t.Errorf("it leaves %v, %v", left, err)
				}
			})
		}
	}
}

// The image's entrypoint is a stand-in that writes down how it was called.
func TestStart(t *testing.T) {
	t.Parallel()
	const own = "which PostgreSQL has for itself: write another name there"
	cases := map[string]struct {
		user  string
		files []string
		fails bool
		// has and lacks are what the volume has at the end.
		has, lacks []string
		says       string
	}{
		"nothing there":                   {user: "backstage", has: []string{"pgdata.unfinished"}},
		"complete data":                   {user: "backstage", files: []string{"pgdata/PG_VERSION"}, has: []string{"pgdata/PG_VERSION"}, lacks: []string{"pgdata.unfinished"}},
		"what somebody else has there":    {user: "backstage", files: []string{"pgdata/notes"}, has: []string{"pgdata/notes"}, lacks: []string{"pgdata.unfinished"}},
		"data that was interrupted":       {user: "backstage", files: []string{"pgdata.unfinished", "pgdata/PG_VERSION"}, has: []string{"pgdata.unfinished", "pgdata.interrupted/PG_VERSION"}, lacks: []string{"pgdata"}, says: "made anew"},
		"data that was interrupted twice": {user: "backstage", files: []string{"pgdata.unfinished", "pgdata/PG_VERSION", "pgdata.interrupted/old"}, has: []string{"pgdata.interrupted/PG_VERSION"}, lacks: []string{"pgdata", "pgdata.interrupted/old"}},
		"interrupted before there is any": {user: "backstage", files: []string{"pgdata.unfinished"}, has: []string{"pgdata.unfinished"}, lacks: []string{"pgdata.interrupted"}},
		"the superuser's name":            {user: "postgres", fails: true, lacks: []string{"pgdata.unfinished", "pgdata"}, says: "the user in the Secret is 'postgres', " + own},
		"a name of the server's roles":    {user: "pg_portal", fails: true, lacks: []string{"pgdata.unfinished"}, says: own},
		"a word of SQL":                   {user: "public", fails: true, lacks: []string{"pgdata.unfinished"}, says: own},
		"no name":                         {user: "", fails: true, lacks: []string{"pgdata.unfinished"}, says: own},
		// Data of before superuser was false, whose user keeps its rights.
		"the superuser's name later": {user: "postgres", files: []string{"pgdata/PG_VERSION"}, has: []string{"pgdata/PG_VERSION"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			volume, bin := t.TempDir(), t.TempDir()
			for _, file := range c.files {
				if err := os.MkdirAll(filepath.Join(volume, filepath.Dir(file)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(volume, file), []byte("15"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(bin, "docker-entrypoint.sh"), []byte("#!/bin/sh\necho \"started $*\"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, "files", "start.sh"), "postgres", "-c", "ssl=on")
			cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "PGDATA=" + filepath.Join(volume, "pgdata"), "POSTGRES_USER=postgres", "PORTAL_USER=" + c.user}
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.says) {
				t.Errorf("ends with %v and says\n%s", err, out)
			}
			if started := strings.HasSuffix(string(out), "started postgres -c ssl=on\n"); started == c.fails {
				t.Errorf("the server starts: %t\n%s", started, out)
			}
			for _, file := range c.has {
				if _, err := os.Stat(filepath.Join(volume, file)); err != nil {
					t.Errorf("%s is gone", file)
				}
			}
			for _, file := range c.lacks {
				if _, err := os.Stat(filepath.Join(volume, file)); err == nil {
					t.Errorf("%s is still there", file)
				}
			}
		})
	}
}

// The mark goes once the role is there, and not before.
func TestRoleEndsTheMaking(t *testing.T) {
	t.Parallel()
	for psql, keeps := range map[string]bool{"exit 0": false, "exit 3": true} {
		volume, bin := t.TempDir(), t.TempDir()
		mark := filepath.Join(volume, "pgdata.unfinished")
		for file, text := range map[string]string{mark: "", filepath.Join(bin, "psql"): "#!/bin/sh\n" + psql + "\n"} {
			if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, "files", "role.sh"))
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "PGDATA=" + filepath.Join(volume, "pgdata"), "POSTGRES_USER=postgres", "POSTGRES_DB=d"}
		out, err := cmd.CombinedOutput()
		if _, gone := os.Stat(mark); (err != nil) != keeps || (gone == nil) != keeps {
			t.Errorf("psql that does %s: %v, the mark stays: %t\n%s", psql, err, gone == nil, out)
		}
	}
}
