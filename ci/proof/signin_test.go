package proof

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestSignInValues(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../../charts/backstage/" + signInExample)
	if err != nil {
		t.Fatal(err)
	}
	values, err := signInValues(example)
	if err != nil {
		t.Fatal(err)
	}
	// The Secret is the one that the proof makes, the provider that of the environment it asks for.
	secret := values["extraEnvFrom"].([]any)[0].(map[string]any)["secretRef"].(map[string]any)["name"]
	auth := values["appConfig"].(map[string]any)["auth"].(map[string]any)
	provider := auth["providers"].(map[string]any)["github"].(map[string]any)[signInEnvironment]
	if secret != authSecret || auth["environment"] != signInEnvironment || provider == nil {
		t.Errorf("got %v", values)
	}
	if _, err := signInValues([]byte("ingress: {enabled: true}")); err == nil {
		t.Error("values without a sign-in are one")
	}
}

func TestAsksGitHub(t *testing.T) {
	t.Parallel()
	const back = "&redirect_uri=http%3A%2F%2Fportal%2Fapi%2Fauth%2Fgithub%2Fhandler%2Fframe"
	cases := map[string]struct{ sent, want string }{
		"GitHub":        {"https://github.com/login/oauth/authorize?client_id=id" + back, ""},
		"not GitHub":    {"https://github.example/login/oauth/authorize?client_id=id" + back, "leads to https://github.example/login/oauth/authorize"},
		"not by TLS":    {"http://github.com/login/oauth/authorize?client_id=id" + back, "which is not GitHub's"},
		"other client":  {"https://github.com/login/oauth/authorize?client_id=other" + back, `client_id "other", not "id"`},
		"leads astray":  {"https://github.com/login/oauth/authorize?client_id=id&redirect_uri=http://other", `redirect_uri "http://other"`},
		"leads nowhere": {"https://github.com/login/oauth/authorize?client_id=id", `redirect_uri ""`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent, err := url.Parse(c.sent)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(asksGitHub(sent, "id", "http://portal")); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// exchange is what the proof of a sign-in stands on: it may not go where it is sent.
func TestExchangeFollowsNobody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := exchange(r)
	if err != nil || answer.StatusCode != http.StatusFound || answer.Header.Get("Location") != "http://elsewhere.invalid/" {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestRefusedWith(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{http.StatusOK: "answered with 200", http.StatusNotFound: "answered with 404", http.StatusUnauthorized: "", http.StatusForbidden: ""} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := refusedWith(t.Context(), http.MethodGet, server.URL, "")
		if got := text(err); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
		server.Close()
	}
}
