package airgap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// file is a part whose build writes its name into a file, and counts.
func file(name string, built *atomic.Int32, needs ...*Part) *Part {
	return &Part{Name: name, Needs: needs, Build: func(_ context.Context, w Work) error {
		built.Add(1)
		return os.WriteFile(filepath.Join(w.Out, "name"), []byte(name), 0o644)
	}}
}

func newBuilder(t *testing.T) (*builder, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	var progress bytes.Buffer
	return &builder{
		store:    Store{Dir: filepath.Join(dir, "parts")},
		tmp:      filepath.Join(dir, "tmp"),
		shared:   filepath.Join(dir, "build"),
		logs:     filepath.Join(dir, "logs"),
		progress: &progress,
	}, &progress
}

// nothingHalf holds that no unfinished build has left anything.
func nothingHalf(t *testing.T, b *builder, finished ...*Part) {
	t.Helper()
	left, err := os.ReadDir(b.tmp)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("scratch left behind: %v", left)
	}
	var want []string
	for _, p := range finished {
		want = append(want, filepath.Base(b.store.Path(p)))
	}
	var got []string
	entries, err := os.ReadDir(b.store.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	base := file("base", &n)
	left := file("left", &n, base)
	right := file("right", &n, base)
	top := file("top", &n, right, left)
	worker := file("worker", &n)
	made := file("made", &n, base)
	made.Tools = []*Part{worker}

	cases := map[string]struct {
		there, parts             []*Part
		wantClosure, wantMissing []string
	}{
		"needs first, each once": {
			parts:       []*Part{top, left, base},
			wantClosure: []string{"base", "right", "left", "top"},
			wantMissing: []string{"base", "right", "left", "top"},
		},
		"what is there is not built": {
			there:       []*Part{base, right},
			parts:       []*Part{top},
			wantClosure: []string{"base", "right", "left", "top"},
			wantMissing: []string{"left", "top"},
		},
		"what only a finished part needs is not built": {
			there:       []*Part{top},
			parts:       []*Part{top},
			wantClosure: []string{"base", "right", "left", "top"},
		},
		"what does the work comes before": {
			there:       []*Part{base},
			parts:       []*Part{made},
			wantClosure: []string{"base", "worker", "made"},
			wantMissing: []string{"worker", "made"},
		},
		"what does the work is not built without work": {
			there:       []*Part{made},
			parts:       []*Part{made},
			wantClosure: []string{"base", "worker", "made"},
		},
		"nothing": {},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := Store{Dir: t.TempDir()}
			for _, p := range c.there {
				if err := os.Mkdir(store.Path(p), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if got := names(closure(c.parts)); !slices.Equal(got, c.wantClosure) {
				t.Errorf("closure is %v, want %v", got, c.wantClosure)
			}
			if got := names(missingFrom(store, c.parts)); !slices.Equal(got, c.wantMissing) {
				t.Errorf("missing are %v, want %v", got, c.wantMissing)
			}
		})
	}
}

func TestBuildSideBySide(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	// Each waits for the other to have started.
	var both sync.WaitGroup
	both.Add(2)
	meet := func(_ context.Context, _ Work) error {
		both.Done()
		met := make(chan struct{})
		go func() { both.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-time.After(10 * time.Second):
			return errors.New("the other part did not start")
		}
	}
	one, two := &Part{Name: "one", Build: meet}, &Part{Name: "two", Build: meet}
	if err := b.build(t.Context(), []*Part{one, two}); err != nil {
		t.Fatal(err)
	}
	nothingHalf(t, b, one, two)
}

func TestCompilingPartsTakeTurns(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	var at, most atomic.Int32
	compile := func(context.Context, Work) error {
		if now := at.Add(1); now > most.Load() {
			most.Store(now)
		}
		time.Sleep(5 * time.Millisecond)
		at.Add(-1)
		return nil
	}
	var parts []*Part
	for i := range 4 {
		parts = append(parts, &Part{Name: fmt.Sprint("part", i), Compiles: true, Build: compile})
	}
	if err := b.build(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 1 {
		t.Errorf("%d parts compiled at once", most.Load())
	}
}

func TestBuildReadsItsNeeds(t *testing.T) {
	t.Parallel()
	b, progress := newBuilder(t)
	var n atomic.Int32
	base := file("base", &n)
	top := &Part{Name: "top", Needs: []*Part{base}, Build: func(_ context.Context, w Work) error {
		return copyFile(filepath.Join(w.Path(base), "name"), filepath.Join(w.Out, "copy"))
	}}
	if err := b.build(t.Context(), []*Part{top}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(b.store.Path(top), "copy")); err != nil || string(data) != "base" {
		t.Errorf("top holds %q, %v", data, err)
	}
	for _, want := range []string{"2 parts to build: base, top", "[1/2] base", "left: top", "[2/2] top", "nothing left"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("progress lacks %q:\n%s", want, progress)
		}
	}
}

func TestFailureStopsTheOthersAndTheNextRunContinues(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	var n atomic.Int32
	base := file("base", &n)
	slowStarted := make(chan struct{})
	stopped := make(chan struct{})
	slow := &Part{Name: "slow", Needs: []*Part{base}, Build: func(ctx context.Context, w Work) error {
		if err := os.WriteFile(filepath.Join(w.Out, "half"), nil, 0o644); err != nil {
			return err
		}
		close(slowStarted)
		select {
		case <-ctx.Done():
			close(stopped)
			return ctx.Err()
		case <-time.After(10 * time.Second):
			return errors.New("nobody stopped this part")
		}
	}}
	fails := &Part{Name: "fails", Needs: []*Part{base}, Build: func(_ context.Context, w Work) error {
		<-slowStarted
		fmt.Fprintln(w.Log, "what the compiler said")
		return errors.New("exit status 2")
	}}
	after := file("after", &n, fails)

	err := b.build(t.Context(), []*Part{slow, after})
	if err == nil {
		t.Fatal("no error")
	}
	select {
	case <-stopped:
	default:
		t.Error("the other part was not stopped")
	}
	for _, want := range []string{"build fails: exit status 2", "what the compiler said", filepath.Join(b.logs, "fails.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	nothingHalf(t, b, base)

	slow.Build = file("slow", &n).Build
	fails.Build = file("fails", &n).Build
	n.Store(0)
	if err := b.build(t.Context(), []*Part{slow, after}); err != nil {
		t.Fatal(err)
	}
	if n.Load() != 3 {
		t.Errorf("the second run built %d parts, want the 3 that were missing", n.Load())
	}
	nothingHalf(t, b, base, slow, fails, after)
	n.Store(0)
	if err := b.build(t.Context(), []*Part{slow, after}); err != nil || n.Load() != 0 {
		t.Errorf("the third run built %d parts, %v", n.Load(), err)
	}
}

func TestInterruptedBuildLeavesNothing(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	ctx, cancel := context.WithCancel(t.Context())
	// Not even from a build that does not notice.
	part := &Part{Name: "part", Build: func(_ context.Context, w Work) error {
		cancel()
		return os.WriteFile(filepath.Join(w.Out, "half"), nil, 0o644)
	}}
	if err := b.build(ctx, []*Part{part}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want that of the context", err)
	}
	nothingHalf(t, b)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	cases := map[string]func(w Work) error{
		"of this program": func(Work) error { return fmt.Errorf("write x: %w", syscall.ENOSPC) },
		"of a program it runs": func(w Work) error {
			fmt.Fprintln(w.Log, "cp: x: No space left on device")
			return errors.New("exit status 1")
		},
		"of apt, beforehand": func(w Work) error {
			fmt.Fprintln(w.Log, "E: You don't have enough free space in /var/cache/apt/archives/.")
			return errors.New("exit status 100")
		},
		"of a Go program": func(w Work) error {
			fmt.Fprintln(w.Log, "write x: no space left on device")
			return errors.New("exit status 1")
		},
	}
	for name, fill := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := newBuilder(t)
			err := b.build(t.Context(), []*Part{{Name: "big", Build: func(_ context.Context, w Work) error { return fill(w) }}})
			if !errors.Is(err, syscall.ENOSPC) || err.Error() != "build big: no space left on device" {
				t.Errorf("the error is %v", err)
			}
			nothingHalf(t, b)
		})
	}
}

// TestFullDiskWithItsLog: the log is on the full disk too.
func TestFullDiskWithItsLog(t *testing.T) {
	t.Parallel()
	b, _ := newBuilder(t)
	if err := os.MkdirAll(b.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(b.logs, "big.log")); err != nil {
		t.Fatal(err)
	}
	err := b.build(t.Context(), []*Part{{Name: "big", Build: func(ctx context.Context, w Work) error {
		return command{argv: []string{"sh", "-c", `echo cp: >&2; sleep 0.1; echo "$1" >&2; exit 1`, "sh", "x: No space left on device"}, log: w.Log}.run(ctx)
	}}})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
}

func TestTailWriter(t *testing.T) {
	t.Parallel()
	tail := &tailWriter{limit: 12}
	for _, line := range []string{"first\n", "second\n", "third\n"} {
		if n, err := tail.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := tail.String(); got != "third\n" {
		t.Errorf("the tail is %q, want whole lines only", got)
	}
}
