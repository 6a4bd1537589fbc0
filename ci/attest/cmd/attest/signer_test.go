package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

// TestSigner: what signs is given whole, or not at all. Anything else is refused, before there is an image or a registry,
// and never taken for a wish to sign nothing.
func TestSigner(t *testing.T) {
	private := keyPair(t)
	h, err := keyserver.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(h)
	t.Cleanup(service.Close)
	none := (*string)(nil)
	is := func(s string) *string { return &s }

	for what, c := range map[string]struct {
		key, password *string
		args          []string
		signed, want  string
	}{
		"nothing":                  {none, none, nil, `"signed": false`, ""},
		"key and password":         {is(private), is(canary), nil, `"signedBy": "key `, ""},
		"a key service":            {none, none, []string{"--key-service", service.URL}, `"signedBy": "key `, ""},
		"an empty key":             {is(""), is(canary), nil, "", "GITOPS_SIGNING_KEY, the signing key, is given but empty"},
		"a blank key":              {is(" \n"), is(canary), nil, "", "GITOPS_SIGNING_KEY, the signing key, is given but empty"},
		"an empty key alone":       {is(""), none, nil, "", "GITOPS_SIGNING_KEY, the signing key, is given but empty"},
		"both empty":               {is(""), is(""), nil, "", "GITOPS_SIGNING_KEY, the signing key, is given but empty"},
		"an empty key and another": {is(""), none, []string{"--key-service", service.URL}, "", "GITOPS_SIGNING_KEY, the signing key, is given but empty"},
		"a password alone":         {none, is(canary), nil, "", "is given without a key in GITOPS_SIGNING_KEY"},
		"an empty password alone":  {none, is(""), nil, "", "is given without a key in GITOPS_SIGNING_KEY"},
		"a password and a service": {none, is(canary), []string{"--key-service", service.URL}, "", "is given without a key in GITOPS_SIGNING_KEY"},
		"a key alone":              {is(private), none, nil, "", "the password does not open the key"},
		"an empty password":        {is(private), is(""), nil, "", "the password does not open the key"},
		"another password":         {is(private), is("another"), nil, "", "the password does not open the key"},
		"no key":                   {is("no key"), is(canary), nil, "", "the key cannot be used"},
		"half a key":               {is(private[:len(private)/2]), is(canary), nil, "", "the key cannot be used"},
		"key and service":          {is(private), is(canary), []string{"--key-service", service.URL}, "", "more than one thing to sign with"},
		"key and job":              {is(private), is(canary), []string{"--keyless"}, "", "more than one thing to sign with"},
		"service and job":          {none, none, []string{"--key-service", service.URL, "--keyless"}, "", "more than one thing to sign with"},
		"no service":               {none, none, []string{"--key-service", "http://127.0.0.1:1"}, "", "its service does not answer"},
		"an empty service":         {none, none, []string{"--key-service", ""}, "", "--key-service is given but empty"},
		"no job":                   {none, none, []string{"--keyless"}, "", "no GitHub Actions job"},
		"a log of nothing":         {none, none, []string{"--transparency-log"}, "", "--transparency-log wants something to sign with"},
	} {
		t.Run(what, func(t *testing.T) {
			unset(t, keyVariable, keyPasswordVariable, "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
			for name, value := range map[string]*string{keyVariable: c.key, keyPasswordVariable: c.password} {
				if value != nil {
					t.Setenv(name, *value)
				}
			}
			out, err := attestRun(t, with([]string{"signer"}, c.args...)...)
			if c.want == "" {
				if err != nil || !strings.Contains(out, c.signed) {
					t.Errorf("got %s, %v; want %s", out, err, c.signed)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(c.want, "does not open") {
				return // to try takes its time, and who would sign has said it
			}
			// Whatever signs says the same, before it looks at anything else.
			for _, command := range [][]string{{"image", "localhost:1/app@sha256:" + strings.Repeat("0", 64)}, {"sign", "localhost:1/app@sha256:" + strings.Repeat("0", 64)}, {"proof", "sign", "none.json"}, {"public-key", "--out", "none.pub"}} {
				if _, again := attestRun(t, with(command, c.args...)...); again == nil || !strings.Contains(again.Error(), c.want) {
					t.Errorf("%s: got %v, want %q", command[0], again, c.want)
				}
			}
		})
	}
}
