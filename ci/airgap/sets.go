package airgap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// coreSet names the images that are always there.
const coreSet = "core"

// serve adds an image to a set: the mirror serves it once the set is asked for.
func (s *supply) serve(set, part string, img image, needs []*Part, layers func(ctx context.Context, w Work) ([]string, error), inputs ...string) {
	if s.served == nil {
		s.served = map[string]map[string]*Part{}
	}
	if s.served[set] == nil {
		s.served[set] = map[string]*Part{}
	}
	s.served[set][img.ref] = img.part(part, needs, inputs, layers)
}

// sets lists the names of all sets, sorted.
func (s supply) sets() []string { return sortedKeys(s.served) }

// images are those of the sets, by their official names.
func (s supply) images(sets []string) map[string]*Part {
	images := map[string]*Part{}
	for _, set := range sets {
		maps.Copy(images, s.served[set])
	}
	return images
}

// choose is what a run works with: the core, the sets asked for now and those
// asked for before. A set that only another checkout knows is left to it; one
// that is asked for must exist.
func (s supply) choose(asked, before []string) ([]string, error) {
	chosen := []string{coreSet}
	for _, set := range asked {
		if s.served[set] == nil {
			return nil, fmt.Errorf("there is no set of images %q: there are %s", set, strings.Join(s.sets(), ", "))
		}
		chosen = append(chosen, set)
	}
	for _, set := range before {
		if s.served[set] != nil {
			chosen = append(chosen, set)
		}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

func (a Airgap) setsFile() string { return filepath.Join(a.Cache, "sets") }

// remembered lists the sets asked for before, from a file of its own, which
// outlives the engine as the parts do.
func (a Airgap) remembered() ([]string, error) {
	data, err := os.ReadFile(a.setsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// remember notes sets beside those noted before.
func (a Airgap) remember(sets []string) error {
	before, err := a.remembered()
	if err != nil {
		return err
	}
	all := slices.Concat(before, sets)
	slices.Sort(all)
	all = slices.Compact(all)
	if slices.Equal(all, before) {
		return nil
	}
	tmp := a.setsFile() + ".tmp"
	if err := os.WriteFile(tmp, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, a.setsFile())
}

// layer is a tar layer of files that are copied, by their places in the
// image, of texts, and of symbolic links.
func layer(w Work, name string, copies, texts map[string]string, symlinks links) (string, error) {
	root := filepath.Join(w.Scratch, name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	for _, dst := range sortedKeys(copies) {
		if err := copyFile(copies[dst], filepath.Join(root, dst)); err != nil {
			return "", fmt.Errorf("copy %s: %w", copies[dst], err)
		}
	}
	if err := errors.Join(writeTexts(root, texts), symlinks.write(root)); err != nil {
		return "", err
	}
	return scratchTar(w, root, name+".tar")
}

// links are symbolic links: place and target.
type links map[string]string

// input is the links as an input of a part.
func (l links) input() string { return fmt.Sprint(map[string]string(l)) }

func (l links) write(root string) error {
	for name, target := range l {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// writeTexts writes files below root, as programs where they begin with #!.
func writeTexts(root string, texts map[string]string) error {
	for name, text := range texts {
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
