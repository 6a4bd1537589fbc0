package airgap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// command is a program run as one step of a part.
type command struct {
	argv []string
	dir  string
	env  []string
	log  io.Writer
}

// run runs the command to its end and writes what it prints to its log. When
// ctx ends, the program is asked to stop and killed ten seconds later.
func (c command) run(ctx context.Context) error {
	_, err := c.start(ctx, c.log)
	return err
}

// output is run for a program whose standard output is wanted.
func (c command) output(ctx context.Context) (string, error) {
	var out bytes.Buffer
	_, err := c.start(ctx, &out)
	return out.String(), err
}

func (c command) start(ctx context.Context, stdout io.Writer) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = c.env
	cmd.Stdout = stdout
	errTail := &tailWriter{limit: 1000}
	cmd.Stderr = errTail
	if c.log != nil {
		cmd.Stderr = io.MultiWriter(errTail, c.log)
	}
	// A process group of its own, so that Ctrl-C reaches this program first
	// and it then stops the whole group, grandchildren included.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		// Whoever of its group has not ended by now never will.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s is not installed on this machine", c.argv[0])
	}
	if err != nil {
		if c.log == nil && errTail.String() != "" {
			return nil, fmt.Errorf("%s: %w: %s", c.argv[0], err, strings.TrimSpace(errTail.String()))
		}
		return nil, fmt.Errorf("%s: %w", strings.Join(c.argv[:min(3, len(c.argv))], " "), err)
	}
	return cmd, nil
}
