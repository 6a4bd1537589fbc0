// Package bench compares two images of one app: how soon a program in them is ready, and the table of all that was
// measured, with the limits that the slim one is held to.
package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Start is one start of a program, until it was ready.
type Start struct {
	Milliseconds int64 `json:"milliseconds"`
	// WaitingMilliseconds are those of them in which its main thread could have run and others had the processors.
	WaitingMilliseconds int64 `json:"waitingMilliseconds"`
	// ProcessorMilliseconds is what all of its threads used together.
	ProcessorMilliseconds int64 `json:"processorMilliseconds"`
	// ResidentBytes is the most memory it had at once.
	ResidentBytes int64 `json:"residentBytes"`
}

// ErrEnded says that the program ended before it was ready.
var ErrEnded = errors.New("it ended before it was ready")

// pause is the time between two questions, and so the precision. Asked more often, a program that starts is busy with
// answers.
const pause = 50 * time.Millisecond

// Measure starts a program, asks the URLs in turn until each has answered 200, and kills it there and then: what the
// kernel accounts it is the start's.
func Measure(ctx context.Context, argv, urls []string) (Start, error) {
	var output bytes.Buffer
	program := exec.Command(argv[0], argv[1:]...)
	program.Stdout, program.Stderr = &output, &output
	began := time.Now()
	if err := program.Start(); err != nil {
		return Start{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ended := make(chan struct{})
	go func() { _ = program.Wait(); close(ended) }()
	err := answered(ctx, urls, ended)
	ready := time.Since(began)
	waited := waiting(program.Process.Pid)
	// It can have ended by itself.
	_ = program.Process.Kill()
	<-ended
	if err != nil {
		return Start{}, fmt.Errorf("%s: %w: %s", argv[0], err, cmp.Or(lastLine(output.String()), "it said nothing"))
	}
	state := program.ProcessState
	start := Start{
		Milliseconds:          ready.Milliseconds(),
		WaitingMilliseconds:   waited.Milliseconds(),
		ProcessorMilliseconds: (state.UserTime() + state.SystemTime()).Milliseconds(),
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		start.ResidentBytes = usage.Maxrss * 1024 // as Linux counts it
	}
	return start, nil
}

// waiting is how long the main thread of a process has waited for a processor; 0 where the kernel does not say.
func waiting(pid int) time.Duration {
	schedstat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0
	}
	return waitingIn(string(schedstat))
}

// waitingIn is the second number: nanoseconds at work, nanoseconds waiting, times at work.
func waitingIn(schedstat string) time.Duration {
	var worked, waited time.Duration
	if _, err := fmt.Sscan(schedstat, &worked, &waited); err != nil {
		return 0
	}
	return waited
}

// answered waits until each URL has answered 200.
func answered(ctx context.Context, urls []string, ended <-chan struct{}) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	again := time.NewTicker(pause)
	defer again.Stop()
	for _, url := range urls {
		for !answers(ctx, client, url) {
			select {
			case <-ended:
				return ErrEnded
			case <-ctx.Done():
				return fmt.Errorf("%s did not answer 200 %w", url, context.Cause(ctx))
			case <-again.C:
			}
		}
	}
	return nil
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
