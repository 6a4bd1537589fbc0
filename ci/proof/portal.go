package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ownEntities are some of what the portal's catalog says of this system.
var ownEntities = []string{"backstage-backend", "backstage-chart", "backstage-frontend", "release-toolchain"}

// title is in the app's page.
const title = "<title>Backstage GitOps</title>"

// arrives is how long an address may take to lead to a pod that is ready: kube-proxy and the ingress controller have
// to hear of it.
const arrives = time.Minute

func (s *Session) ingress(ctx context.Context) (string, error) {
	page := func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) }
	if err := until(ctx, arrives, page); err != nil {
		return "", fmt.Errorf("the app: %w", err)
	}
	names, err := s.served(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/ is the app, %s/api signs a guest in and lists %s", s.Ingress, s.Ingress, strings.Join(names, ", ")), nil
}

// served waits until a guest can sign in, and gives the entities of the catalog that this system has.
func (s *Session) served(ctx context.Context) ([]string, error) {
	if err := until(ctx, arrives, s.signIn); err != nil {
		return nil, fmt.Errorf("the API: %w", err)
	}
	names, err := s.entities(ctx)
	if err != nil {
		return nil, fmt.Errorf("the catalog: %w", err)
	}
	return names, nil
}

func (s *Session) nodePort(ctx context.Context) (string, error) {
	page := func(ctx context.Context) error { return s.appAt(ctx, s.NodePort) }
	if err := until(ctx, arrives, page); err != nil {
		return "", err
	}
	return s.NodePort + "/ is the app", nil
}

// appAt says whether the app answers at an address.
func (s *Session) appAt(ctx context.Context, address string) error {
	body, err := request(ctx, http.MethodGet, address+"/", "", nil)
	if err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(title)) {
		return fmt.Errorf("%s/ is another page than the app's", address)
	}
	return nil
}

// signIn signs in as a guest.
func (s *Session) signIn(ctx context.Context) error {
	body, err := request(ctx, http.MethodPost, s.Ingress+"/api/auth/guest/refresh", "", strings.NewReader("{}"))
	if err != nil {
		return err
	}
	var answer struct {
		BackstageIdentity struct{ Token string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.BackstageIdentity.Token == "" {
		return fmt.Errorf("a guest gets no token: %w", err)
	}
	s.token = answer.BackstageIdentity.Token
	return nil
}

// entities waits until the catalog lists this system's own entities: it reads them after the start.
func (s *Session) entities(ctx context.Context) ([]string, error) {
	return ownEntities, until(ctx, arrives, func(ctx context.Context) error {
		body, err := request(ctx, http.MethodGet, s.Ingress+"/api/catalog/entities?filter=spec.system=backstage-gitops", s.token, nil)
		if err != nil {
			return err
		}
		var entities []struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal(body, &entities); err != nil {
			return err
		}
		for _, name := range ownEntities {
			if !slices.ContainsFunc(entities, func(e struct{ Metadata struct{ Name string } }) bool { return e.Metadata.Name == name }) {
				return fmt.Errorf("%s is not in the catalog", name)
			}
		}
		return nil
	})
}

// request gives the body of an answer; any status but those of success is an error.
func request(ctx context.Context, method, address, token string, body io.Reader) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, text, err := exchange(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, address, answer.Status, firstLine(string(text[:min(300, len(text))])))
	}
	return text, nil
}

// exchange gives whatever is answered, with its body. It follows no redirect.
func exchange(r *http.Request) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	return answer, text, err
}
