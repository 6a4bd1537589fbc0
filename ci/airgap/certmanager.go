package airgap

import _ "embed"

// certManagerSet names the images of cert-manager's own chart.
const certManagerSet = "cert-manager"

// The programs of cert-manager are modules of their own in its repository, and not served: what is here starts what is in
// its main module.
var (
	//go:embed images/cert-manager-controller.go.txt
	certManagerController string
	//go:embed images/cert-manager-webhook.go.txt
	certManagerWebhook string
	//go:embed images/cert-manager-cainjector.go.txt
	certManagerCainjector string
)

// serveCertManager adds cert-manager, with the issuers that ask nobody outside.
func (s *supply) serveCertManager(certs *Part) {
	pin := pinned("cert-manager")
	built := moduleBuild{
		path: "github.com/cert-manager/cert-manager", version: pin.Version,
		add: map[string]string{
			"cmd/controller/main.go": certManagerController,
			"cmd/webhook/main.go":    certManagerWebhook,
			"cmd/cainjector/main.go": certManagerCainjector,
		},
		stamps:   []string{"github.com/cert-manager/cert-manager/pkg/util.AppVersion=" + pin.Version},
		packages: []string{"./cmd/controller", "./cmd/webhook", "./cmd/cainjector"},
	}.part("cert-manager")
	for _, p := range []string{"controller", "webhook", "cainjector"} {
		s.serveProgram(certManagerSet, "quay.io/jetstack/cert-manager-"+p+":"+pin.Version, "app/cmd/"+p+"/cert-manager-"+p, "1000", certs, built, p)
	}
}
