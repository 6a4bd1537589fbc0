package proof

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// requestIDHeader is where a proxy gives the backend the id of a request, and where the answer has it.
const requestIDHeader = "X-Request-Id"

// logs reads what both containers have said since they started, and finds a request in it by its id.
func (s *Session) logs(ctx context.Context) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	id := "proof-" + rand.Text()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Ingress+"/api/catalog/entities?limit=1", nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set(requestIDHeader, id)
	answer, _, err := exchange(r)
	if err != nil {
		return "", err
	}
	if given := answer.Header.Get(requestIDHeader); answer.StatusCode != http.StatusOK || given != id {
		return "", fmt.Errorf("the request with the id %s is answered with %s and the id %q", id, answer.Status, given)
	}
	var shown []string
	for _, c := range pod.Spec.Containers {
		var lines, told int
		// What was said of the request arrives in the log a little later.
		if err := until(ctx, 10*time.Second, func(ctx context.Context) error {
			said, err := s.logOf(ctx, namespace, pod.Name, c.Name)
			if err != nil {
				return err
			}
			if lines, told, err = toldOf(said, id); err == nil && told == 0 && c.Name == "backend" {
				err = fmt.Errorf("none of its %d lines has the requestId %s", lines, id)
			}
			return err
		}); err != nil {
			return "", fmt.Errorf("the log of %s: %w", c.Name, err)
		}
		shown = append(shown, fmt.Sprintf("%d lines of %s are JSON objects, all since there is a logger, %d of them of the request %s", lines, c.Name, told, id))
	}
	return strings.Join(shown, "; "), nil
}

// unlogged is what Backstage prints by itself, once, before it has a configuration and with that a logger.
const unlogged = "Loading config from "

// toldOf counts the lines of a log, and those that are of a request. Each has to be a JSON object, but for what is printed
// before there is a logger.
func toldOf(log, id string) (lines, told int, err error) {
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" || lines == 0 && strings.HasPrefix(line, unlogged) {
			continue
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil || object == nil {
			return lines, told, fmt.Errorf("it has a line that is no JSON object: %q", line[:min(len(line), 200)])
		}
		lines++
		if object["requestId"] == id {
			told++
		}
	}
	if lines == 0 {
		return 0, 0, errors.New("it is empty")
	}
	return lines, told, nil
}
