package bump

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir bumps the chart in a directory. Both files are complete on disk before the first takes its name, so an
// interrupted or refused bump leaves the chart as it was.
func Dir(dir string, p Pin) ([]Edit, error) {
	values, err := load(dir, ValuesFile)
	if err != nil {
		return nil, err
	}
	chart, err := load(dir, ChartFile)
	if err != nil {
		return nil, err
	}
	after, edits, err := Apply(Files{Values: values.text, Chart: chart.text}, p)
	if err != nil || len(edits) == 0 {
		return nil, err
	}
	values.text, chart.text = after.Values, after.Chart
	for _, f := range []*file{&values, &chart} {
		if err = f.stage(); err != nil {
			break
		}
	}
	for _, f := range []*file{&values, &chart} {
		if err == nil {
			err = os.Rename(f.staged, f.path)
		}
		if err != nil && f.staged != "" {
			err = errors.Join(err, ignoreMissing(os.Remove(f.staged)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write the chart in %s: %w", dir, err)
	}
	return edits, nil
}

// File points values in a file of any name at an image: image.tag and image.digest, and nothing of a Chart.yaml. The
// file is replaced as a whole or not at all.
func File(path string, p Pin) ([]Edit, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	f, err := load(filepath.Dir(path), name)
	if err != nil {
		return nil, err
	}
	if there, err := names(name, f.text, p); err != nil || there {
		return nil, err
	}
	after, edits, err := pin(name, f.text, p)
	if err != nil {
		return nil, err
	}
	f.text = after
	if err = f.stage(); err == nil {
		err = os.Rename(f.staged, f.path)
	}
	if err != nil {
		if f.staged != "" {
			err = errors.Join(err, ignoreMissing(os.Remove(f.staged)))
		}
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return edits, nil
}

type file struct {
	path, staged string
	mode         fs.FileMode
	text         []byte
}

func load(dir, name string) (file, error) {
	f := file{path: filepath.Join(dir, name)}
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, fmt.Errorf("%w: there is no %s in %s", ErrChart, name, dir)
	case err != nil:
		return f, err
	case !info.Mode().IsRegular():
		return f, fmt.Errorf("%w: %s is not a regular file", ErrChart, f.path)
	}
	f.mode = info.Mode().Perm()
	f.text, err = os.ReadFile(f.path)
	return f, err
}

// stage writes the text beside its file.
func (f *file) stage() error {
	tmp, err := os.CreateTemp(filepath.Dir(f.path), "."+filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	f.staged = tmp.Name()
	_, err = tmp.Write(f.text)
	return errors.Join(err, tmp.Chmod(f.mode), tmp.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
