package chart_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	dump := `while [ $# -gt 0 ]; do case $1 in --file=*) echo dump > "${1#--file=}" ;; esac; shift; done`
	cases := map[string]struct {
		script string
		env    []string
		files  []string
		tools  map[string]string
		fails  bool
		// keeps and goes are what is there at the end, and what is not; calls is part of what was called.
		keeps, goes []string
		calls, says string
	}{
		"dump keeps the newest": {
			script: "dump.sh", env: []string{"KEEP=2"}, files: []string{old, newer, "." + old + ".part", "notes.txt"},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "", "date": "echo 20260104T000000Z"},
			keeps: []string{"backstage-20260104T000000Z.dump", newer, "notes.txt"}, goes: []string{old, "." + old + ".part"},
			calls: "pg_restore --list .backstage-20260104T000000Z.dump.part",
		},
		"dump that fails removes nothing": {
			script: "dump.sh", env: []string{"KEEP=1"}, files: []string{old, newer},
			tools: map[string]string{"pg_dump": "exit 1", "pg_restore": ""}, fails: true, keeps: []string{old, newer},
		},
		"dump that cannot be read removes nothing and has no name": {
			script: "dump.sh", env: []string{"KEEP=1"}, files: []string{old, newer},
			tools: map[string]string{"pg_dump": dump, "pg_restore": "exit 1", "date": "echo 20260104T000000Z"}, fails: true,
			keeps: []string{old, newer}, goes: []string{"backstage-20260104T000000Z.dump"},
		},
		"upload keeps the newest": {
			script: "upload.sh", env: []string{"KEEP=1", "BUCKET=bucket:b/p"}, files: []string{newest},
			tools: map[string]string{"rclone": `case $1 in lsf) printf '%s\n' ` + newer + " " + newest + " " + old + ` ;; esac`},
			keeps: []string{newest}, calls: "rclone deletefile bucket:b/p/" + newer + "\nrclone deletefile bucket:b/p/" + old,
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
				if err := os.WriteFile(filepath.Join(backups, file), []byte("dump"), 0o644); err != nil {
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
			cmd.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "BACKUP_DIR=" + backups, "PGDATABASE=d", "TMPDIR=" + t.TempDir()}, c.env...)
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "touched") {
				t.Errorf("ends with %v and says\n%s", err, out)
			}
			calls, _ := os.ReadFile(filepath.Join(bin, "calls"))
			if !strings.Contains(string(calls), c.calls) {
				t.Errorf("%q is not in what was called:\n%s", c.calls, calls)
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
