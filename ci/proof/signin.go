package proof

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// signInExample are the chart's own values for a sign-in with GitHub.
const signInExample = "ci/sign-in-values.yaml"

// signInEnvironment is that of the provider in the example.
const signInEnvironment = "production"

// signInValues are the parts of the chart's example that say who may sign in. Its addresses are not this cluster's.
func signInValues(example []byte) (map[string]any, error) {
	var values struct {
		ExtraEnvFrom []any `yaml:"extraEnvFrom"`
		AppConfig    struct {
			Auth map[string]any
		} `yaml:"appConfig"`
	}
	if err := yaml.Unmarshal(example, &values); err != nil {
		return nil, err
	}
	if len(values.ExtraEnvFrom) == 0 || len(values.AppConfig.Auth) == 0 {
		return nil, fmt.Errorf("%s of the chart configures no sign-in", signInExample)
	}
	return map[string]any{"extraEnvFrom": values.ExtraEnvFrom, "appConfig": map[string]any{"auth": values.AppConfig.Auth}}, nil
}

// gitHubSignIn has people sign in with GitHub and nobody as a guest, by the values of the chart's example. How GitHub answers
// is not part of it: nobody leaves the session.
func (s *Session) gitHubSignIn(ctx context.Context) (string, error) {
	if err := s.cloned(ctx); err != nil {
		return "", err
	}
	example, err := os.ReadFile(filepath.Join(s.repository.dir, s.Chart, signInExample))
	if err != nil {
		return "", err
	}
	values, err := signInValues(example)
	if err != nil {
		return "", err
	}
	if err := s.place(ctx, namespace, false); err != nil {
		return "", err
	}
	secret, err := s.Client.Core.Secrets(namespace).Get(ctx, authSecret, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if err := s.shape(ctx, "test: sign in with GitHub", values); err != nil {
		return "", err
	}
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) }); err != nil {
		return "", err
	}
	client := string(secret.Data["AUTH_GITHUB_CLIENT_ID"])
	var sent *url.URL
	if err := until(ctx, arrives, func(ctx context.Context) (err error) {
		sent, err = s.sentToGitHub(ctx)
		return err
	}); err != nil {
		return "", err
	}
	if err := asksGitHub(sent, client, s.Ingress); err != nil {
		return "", err
	}
	var refusals []string
	for _, r := range []struct{ what, method, path, body string }{
		// As signIn asks.
		{"the guest's sign-in", http.MethodPost, "/api/auth/guest/refresh", "{}"},
		{"the catalog without a token", http.MethodGet, "/api/catalog/entities?limit=1", ""},
	} {
		refusal, err := refusedWith(ctx, r.method, s.Ingress+r.path, r.body)
		if err != nil {
			return "", fmt.Errorf("%s: %w", r.what, err)
		}
		refusals = append(refusals, r.what+" is refused, "+refusal)
	}
	if err := s.inBrowser(ctx, s.offeredGitHub); err != nil {
		return "", fmt.Errorf("the sign-in page at %s: %w", s.Ingress, err)
	}
	return fmt.Sprintf("%s sends people to https://%s%s for the client %s; %s; the sign-in page offers GitHub and no guest",
		s.Ingress, sent.Host, sent.Path, client, strings.Join(refusals, "; ")), nil
}

// guestsAgain has the released chart run, in which guests sign in: that they could not was the doing of the values.
func (s *Session) guestsAgain(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: the chart as it was released", nil); err != nil {
		return "", err
	}
	names, err := s.served(ctx)
	if err != nil {
		return "", err
	}
	return "a guest signs in and lists " + strings.Join(names, ", "), nil
}

// sentToGitHub is where the backend sends a browser that wants to sign in.
func (s *Session) sentToGitHub(ctx context.Context) (*url.URL, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Ingress+"/api/auth/github/start?env="+signInEnvironment, nil)
	if err != nil {
		return nil, err
	}
	answer, _, err := exchange(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusFound {
		return nil, fmt.Errorf("GET %s: %s, not a redirect", r.URL, answer.Status)
	}
	return answer.Location()
}

// asksGitHub says whether an address is GitHub's page that asks somebody for an OAuth app of this client, and leads back to
// the portal.
func asksGitHub(sent *url.URL, client, portal string) error {
	if page := sent.Scheme + "://" + sent.Host + sent.Path; page != "https://github.com/login/oauth/authorize" {
		return fmt.Errorf("the sign-in leads to %s, which is not GitHub's", page)
	}
	for name, want := range map[string]string{"client_id": client, "redirect_uri": portal + "/api/auth/github/handler/frame"} {
		if got := sent.Query().Get(name); got != want {
			return fmt.Errorf("the sign-in asks GitHub with %s %q, not %q", name, got, want)
		}
	}
	return nil
}

// refusedWith is how a request without any credential is refused for want of one.
func refusedWith(ctx context.Context, method, address, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, _, err := exchange(r)
	switch {
	case err != nil:
		return "", err
	case answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusForbidden:
		return "", fmt.Errorf("it is answered with %s", answer.Status)
	}
	return answer.Status, nil
}

// offeredGitHub sees that the sign-in page offers GitHub, and nothing else.
func (s *Session) offeredGitHub(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx,
		chromedp.Navigate(s.Ingress),
		chromedp.WaitVisible(chromedp.Search(`//*[normalize-space(.)="GitHub"]`)),
		chromedp.WaitVisible(chromedp.Search(`//button[normalize-space(.)="Sign In"]`)),
	); err != nil {
		return fmt.Errorf("it offers no GitHub: %w", err)
	}
	guests, err := chromedp.Run(ctx, chromedp.Nodes(chromedp.Search(`//button[normalize-space(.)="Enter"]`), chromedp.AtLeast(0)))
	if err == nil && len(guests) > 0 {
		err = errors.New("it offers the guest as well")
	}
	return err
}
