package proof

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"time"
)

var (
	//go:embed local.yaml
	localValues []byte
	//go:embed local-api.yaml
	localAPI []byte
)

// Deploy has Argo CD run the release for a person at localhost: the app on port 8000, the API on 4001 and both through
// the ingress on 8080, where these lead to the nodes' ports 30800, 30401 and 30080.
func (s *Session) Deploy(ctx context.Context) error {
	for _, step := range []step{
		{name: "the repository is served inside the cluster", run: s.serveGit},
		{name: "the ingress controller runs", run: s.startIngress},
		{name: "Argo CD runs the revision, by digest", run: func(ctx context.Context) (string, error) { return s.syncWith(ctx, localValues) }},
		{name: "the API answers on a NodePort", run: func(ctx context.Context) (string, error) {
			_, err := s.apply(ctx, localAPI)
			return "", err
		}},
	} {
		start := time.Now()
		shown, err := step.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		slog.Info(step.name, "seconds", seconds(time.Since(start)), "shown", shown)
	}
	return nil
}
