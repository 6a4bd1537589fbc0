package airgap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sideBySide is how many parts are built at once: one that compiles and
// others that mostly wait for the network and the disk.
const sideBySide = 3

// builder builds what is missing of a set of parts, in the order of their
// needs and side by side where that is possible.
type builder struct {
	store    Store
	tmp      string
	shared   string
	logs     string
	progress io.Writer

	mu      sync.Mutex
	missing []*Part
	done    int
}

// closure lists the parts and everything they are built from, that first.
func closure(parts []*Part) []*Part {
	return inOrder(parts, func(*Part) bool { return false })
}

// missingFrom lists what must be built for the parts to be there. A part that
// is there needs nothing: its own needs are not built for its sake.
func missingFrom(store Store, parts []*Part) []*Part {
	return inOrder(parts, store.Has)
}

// inOrder lists the parts and what comes before them, each once and that
// first, without the parts to skip and what only they come after.
func inOrder(parts []*Part, skip func(*Part) bool) []*Part {
	var order []*Part
	seen := map[*Part]bool{}
	var visit func(*Part)
	visit = func(p *Part) {
		if seen[p] || skip(p) {
			return
		}
		seen[p] = true
		for _, n := range p.before() {
			visit(n)
		}
		order = append(order, p)
	}
	for _, p := range parts {
		visit(p)
	}
	return order
}

// build brings every part into the store. On the first failure it stops the
// others and says which part failed and where its log is; what is finished
// stays, so that the next run continues from there.
func (b *builder) build(ctx context.Context, parts []*Part) error {
	b.missing = missingFrom(b.store, parts)
	if len(b.missing) == 0 {
		return nil
	}
	if err := os.MkdirAll(b.logs, 0o755); err != nil {
		return err
	}
	b.say("%d parts to build: %s", len(b.missing), strings.Join(names(b.missing), ", "))

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	finished := map[*Part]chan struct{}{}
	for _, p := range b.missing {
		finished[p] = make(chan struct{})
	}
	slots := make(chan struct{}, sideBySide)
	compiling := make(chan struct{}, 1)

	var wg sync.WaitGroup
	for _, p := range b.missing {
		wg.Go(func() {
			for _, n := range p.before() {
				if ch, ok := finished[n]; ok {
					if !wait(ctx, ch) {
						return
					}
				}
			}
			if p.Compiles {
				if !acquire(ctx, compiling) {
					return
				}
				defer release(compiling)
			}
			if !acquire(ctx, slots) {
				return
			}
			defer release(slots)
			if err := b.one(ctx, p); err != nil {
				cancel(err)
				return
			}
			close(finished[p])
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return nil
}

// one builds one part with a log of its own and a line when it is done.
func (b *builder) one(ctx context.Context, p *Part) error {
	path := filepath.Join(b.logs, p.Name+".log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	tail := &tailWriter{limit: 2000}
	start := time.Now()
	err = b.store.build(ctx, p, b.tmp, b.shared, io.MultiWriter(tail, lossy{log}))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case diskFull(err, tail.String()):
		return fmt.Errorf("build %s: %w", p.Name, syscall.ENOSPC)
	default:
		return fmt.Errorf("build %s: %w\n%s\nthe whole log: %s", p.Name, err, indent(tail.String()), path)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	left := "nothing left"
	var rest []string
	for _, m := range b.missing {
		if !b.store.Has(m) {
			rest = append(rest, m.Name)
		}
	}
	if len(rest) > 0 {
		left = "left: " + strings.Join(rest, ", ")
	}
	b.say("[%d/%d] %-14s %7s  %s", b.done, len(b.missing), p.Name, time.Since(start).Round(100*time.Millisecond), left)
	return nil
}

func (b *builder) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "airgap: "+format+"\n", args...)
}

func names(parts []*Part) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.Name)
	}
	return out
}

func wait(ctx context.Context, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	case <-ctx.Done():
		return false
	}
}

func acquire(ctx context.Context, slots chan<- struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func release(slots <-chan struct{}) { <-slots }

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}

// lossy writes what can be written. A log on a full disk must not end the
// programs that write to it before they have said that it is full.
type lossy struct{ io.Writer }

func (l lossy) Write(p []byte) (int, error) {
	_, _ = l.Writer.Write(p)
	return len(p), nil
}

// tailWriter keeps the last bytes written to it, for error messages.
type tailWriter struct {
	mu    sync.Mutex
	limit int
	buf   []byte
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = t.buf[over:]
		if nl := bytes.IndexByte(t.buf, '\n'); nl >= 0 {
			t.buf = t.buf[nl+1:]
		}
	}
	return len(p), nil
}

func (t *tailWriter) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
