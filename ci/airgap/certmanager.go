package airgap

import (
	"context"
	_ "embed"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
	programs := []string{"controller", "webhook", "cainjector"}
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
	for _, p := range programs {
		program := "/app/cmd/" + p + "/" + p
		s.serve(certManagerSet, "image-cert-manager-"+p, image{
			ref:    "quay.io/jetstack/cert-manager-" + p + ":" + pin.Version,
			config: v1.Config{User: "1000", Entrypoint: []string{program}, Env: []string{defaultPath}},
		}, []*Part{certs, built}, func(ctx context.Context, w Work) ([]string, error) {
			top, err := layer(w, p, map[string]string{program: filepath.Join(w.Path(built), "bin", p)}, nil, nil)
			return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
		})
	}
}
