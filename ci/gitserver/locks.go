package gitserver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// claimFile is locked by every server of a root while it runs; the kernel lets go of it however a server ends.
const claimFile = ".gitops-serving"

// claim tells a root's other servers that this one runs, and calls alone first where it is the only one.
func claim(root string, alone func() error) (*os.File, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(root, claimFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	switch err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		err = alone()
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = nil
	}
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("claim %s: %w", root, err), f.Close())
	}
	return f, nil
}

// unlock removes the lock files of a git that was killed, which would refuse every later push. Nobody else may work
// on the repository.
func unlock(repository string) error {
	return filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "objects":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(d.Name(), ".lock"):
			return nil
		}
		slog.Warn("removing the lock of a git that was killed", "file", path)
		return os.Remove(path)
	})
}
