package airgap

// externalSecretsSet names the image of external-secrets' own chart.
const externalSecretsSet = "external-secrets"

// externalSecretsRegisters are the two lists of what external-secrets asks for secrets, without the services outside of
// a cluster, whose clients are most of what it compiles.
var externalSecretsRegisters = map[string]string{
	"pkg/provider/register/register.go": `// Package register has the providers that ask a cluster, nobody, or an address.
package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/provider/fake"
	_ "github.com/external-secrets/external-secrets/pkg/provider/kubernetes"
	_ "github.com/external-secrets/external-secrets/pkg/provider/webhook"
)
`,
	"pkg/generator/register/register.go": `// Package register has the generators that ask nobody.
package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/generator/fake"
	_ "github.com/external-secrets/external-secrets/pkg/generator/password"
	_ "github.com/external-secrets/external-secrets/pkg/generator/uuid"
)
`,
}

// serveExternalSecrets adds external-secrets.
func (s *supply) serveExternalSecrets(certs *Part) {
	pin := pinned("external-secrets")
	built := moduleBuild{
		path: "github.com/external-secrets/external-secrets", version: pin.Version,
		add: externalSecretsRegisters, packages: []string{"."},
	}.part("external-secrets")
	s.serveProgram(externalSecretsSet, "ghcr.io/external-secrets/external-secrets:"+pin.Version, "bin/external-secrets", "65534", certs, built, "external-secrets")
}
