package proof

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// people ask for pages without a pause, until they are stopped.
type people struct {
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu     sync.Mutex
	asked  int
	failed []error
}

// visit has people use the portal: app and API through the ingress controller, and the app on a node.
func (s *Session) visit(ctx context.Context) *people {
	return startPeople(ctx, s.Ingress+"/", s.Ingress+"/api/auth/.well-known/jwks.json", s.NodePort+"/")
}

// startPeople has one asker for each address. Each request has a connection of its own, as that of a new visitor.
func startPeople(ctx context.Context, addresses ...string) *people {
	ctx, cancel := context.WithCancel(ctx)
	p := &people{cancel: cancel}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for _, address := range addresses {
		p.all.Go(func() {
			for ctx.Err() == nil {
				err := ask(ctx, client, address)
				if ctx.Err() != nil {
					return
				}
				p.note(err)
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	return p
}

func ask(ctx context.Context, client *http.Client, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("GET %s: %w", address, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", address, answer.Status)
	}
	return nil
}

func (p *people) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if err != nil {
		p.failed = append(p.failed, fmt.Errorf("at %s: %w", time.Now().UTC().Format("15:04:05.000"), err))
	}
}

// stop ends the asking and says how many requests there were and which failed.
func (p *people) stop() (asked int, failed []error) {
	p.cancel()
	p.all.Wait()
	return p.asked, p.failed
}

// complaint is what people who were stopped complain of, if anything; when may say when that was.
func complaint(asked int, failed []error, when string) error {
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d of %d requests failed%s, the first: %w", len(failed), asked, when, failed[0])
	case asked == 0:
		return fmt.Errorf("nobody asked for anything%s", when)
	}
	return nil
}
