package airgap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Part is one piece of the supply. It is built once and kept under a key made
// of everything that decides its content, so a part that is there is right.
type Part struct {
	// Name is the part's folder and its name in progress lines.
	Name string
	// Needs are the parts whose output this one is made of.
	Needs []*Part
	// Tools are parts that only do the work where this machine has nothing
	// that does: the content is the same with and without them.
	Tools []*Part
	// Inputs are all other things the content depends on: pins, package
	// lists, digests of files of this checkout. Change what Build does and
	// something here must change too.
	Inputs []string
	// Compiles marks a part that keeps every core busy; such parts take turns.
	Compiles bool
	// Build fills work.Out. What it leaves in work.Scratch is thrown away.
	Build func(ctx context.Context, work Work) error
}

// Key names the part's content: twelve hexadecimal digits of a SHA-256 over
// its name, its inputs and the keys of what it needs.
func (p *Part) Key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", p.Name)
	for _, in := range p.Inputs {
		fmt.Fprintf(h, "input %q\n", in)
	}
	for _, n := range p.Needs {
		fmt.Fprintf(h, "needs %s\n", n.Key())
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// before are the parts that must be there for this one to be built.
func (p *Part) before() []*Part { return slices.Concat(p.Needs, p.Tools) }

// Work is what a part's Build gets to work with.
type Work struct {
	// Out is the folder that becomes the part, empty at first.
	Out string
	// Scratch is a folder of the build's own, removed afterwards.
	Scratch string
	// Shared is scratch that all builds of this supply use: module and build
	// caches. It is removed once nothing is left to build.
	Shared string
	// Log receives the output of the programs the build runs.
	Log io.Writer
	// Path is the folder of a part named in Needs or Tools.
	Path func(*Part) string
}

// Store keeps finished parts, each in a folder of its own below Dir.
type Store struct{ Dir string }

// Path is the folder of the finished part, whether or not it is there.
func (s Store) Path(p *Part) string {
	return filepath.Join(s.Dir, p.Name+"-"+p.Key())
}

// Has tells whether the part is finished. A folder appears in the store only
// by a rename after its build succeeded, so there are no half-built parts.
func (s Store) Has(p *Part) bool {
	info, err := os.Stat(s.Path(p))
	return err == nil && info.IsDir()
}

// build makes the part in a scratch folder beside the store and moves it in.
func (s Store) build(ctx context.Context, p *Part, tmp, shared string, log io.Writer) (err error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(tmp, p.Name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()

	work := Work{
		Out:     filepath.Join(dir, "out"),
		Scratch: filepath.Join(dir, "scratch"),
		Shared:  shared,
		Log:     log,
		Path: func(n *Part) string {
			if !slices.Contains(p.before(), n) {
				panic(fmt.Sprintf("airgap: part %s reads %s, which it does not declare", p.Name, n.Name))
			}
			return s.Path(n)
		},
	}
	for _, d := range []string{work.Out, work.Scratch, work.Shared} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := p.Build(ctx, work); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.Rename(work.Out, s.Path(p))
}

// Prune removes parts that none of keep is, such as those of earlier pins.
func (s Store) Prune(keep []*Part) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, p := range keep {
		wanted[filepath.Base(s.Path(p))] = true
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := removeAll(filepath.Join(s.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeAll is os.RemoveAll that also removes read-only folders, as Go's
// module cache has them; root does not need it, other users do.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	return errors.Join(walkErr, os.RemoveAll(dir))
}

// digestOf is a digest of the names and contents of the files below the
// given files and folders, for use as an input of a part.
func digestOf(paths ...string) (string, error) {
	h := sha256.New()
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() || strings.HasSuffix(path, ".md") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%s %x\n", filepath.ToSlash(rel), sha256.Sum256(data))
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("digest of %s: %w", root, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
