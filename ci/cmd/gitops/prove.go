package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/proof"
)

func newProve() *cobra.Command {
	var (
		s          proof.Session
		kubeconfig string
	)
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Show that Argo CD runs a commit, by digest, and that people can use it.",
		Long: `Show in a throw-away cluster, step by step, that Argo CD runs exactly one commit with exactly one image;
that app and API answer through Service, Ingress and NodePort, and in a real browser; that the pod may do
no more than it must; and that the next commits reload, roll out, prune and heal (--changes=false leaves these out).

Its commits go to the branch of --git. The proof is written to --out as JSON, Markdown and HTML, with the
portal's picture, also where a step failed: the exit code is 1 then.`,
		Example: `  gitops prove --kubeconfig kubeconfig --git http://git:8080/backstage-gitops.git --revision $(git rev-parse HEAD) \
    --image docker.io/user/backstage-gitops --digest sha256:… --ingress http://docker:8080 --node-port http://docker:8000 \
    --browser http://browser:9222 --out proof`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(s.Faults) > 0 && (s.Cluster == "" || s.Registry == "") {
				return usageError{errors.New("--faults wants --cluster and --registry; see gitops prove --help")}
			}
			if len(s.Features) > 0 && (s.Cluster == "" || s.Registry == "" || s.Components == "") {
				return usageError{errors.New("--features wants --cluster, --registry and --components; see gitops prove --help")}
			}
			client, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			s.Client = client
			if err := os.MkdirAll(s.Out, 0o755); err != nil {
				return fmt.Errorf("the folder of the proof: %w", err)
			}
			proven, failure := s.Run(cmd.Context())
			if proven == nil {
				return failure
			}
			if err := proven.Write(s.Out); err != nil {
				return errors.Join(failure, fmt.Errorf("write the proof: %w", err))
			}
			if failure != nil {
				return failure
			}
			return printJSON(cmd.OutOrStdout(), proven)
		},
	}
	sessionFlags(cmd, &s, &kubeconfig)
	cmd.Flags().StringVar(&s.Ingress, "ingress", "http://docker:8080", "the address of the nodes' port 30080, the ingress controller's")
	cmd.Flags().StringVar(&s.NodePort, "node-port", "http://docker:8000", "the address of the nodes' port 30800, the app's")
	cmd.Flags().StringVar(&s.Browser, "browser", "http://browser:9222", "the DevTools of a browser that reaches --ingress")
	cmd.Flags().StringVar(&s.Out, "out", "proof", "the folder to write the proof to")
	cmd.Flags().BoolVar(&s.Changes, "changes", true, "also make the commits that follow, and show what comes of them and of drift")
	cmd.Flags().BoolVar(&s.Strict, "strict", false, "fail where this cluster cannot show what is asked for, instead of noting it as not proven here")
	cmd.Flags().StringSliceVar(&s.Faults, "faults", nil, "then have these go wrong, and show that each is detected, explained and survived: "+strings.Join(proof.Faults(), ", ")+"; "+proof.AllFaults)
	cmd.Flags().StringSliceVar(&s.Features, "features", nil, "then show these optional parts of the charts on what they are made for: "+strings.Join(proof.FeatureNames(), ", ")+"; "+proof.AllFaults)
	cmd.Flags().StringVar(&s.Components, "components", "", "the folder with the manifests of what --features run on, as gitops features names them: NAME.yaml")
	cmd.Flags().StringVar(&s.HTTPS, "https", "https://docker:8443", "the address of the nodes' port 30443, the ingress controller's for TLS")
	cmd.Flags().StringVar(&s.Cluster, "cluster", "", "the kind cluster's name in the Docker daemon of DOCKER_HOST, fenced in: show that it asked for nothing outside; faults need it")
	cmd.Flags().StringVar(&s.Registry, "registry", "", "the registry that the cluster pulls from, HOST:PORT over plain http; faults need it")
	return cmd
}

func newFaults() *cobra.Command {
	return &cobra.Command{
		Use:   "faults [NAME]…",
		Short: "List what prove can have go wrong, and refuse other names.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := proof.CheckFaults(args); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), proof.Faults())
		},
	}
}

func newFeatures() *cobra.Command {
	var workers int
	cmd := &cobra.Command{
		Use:   "features [NAME]…",
		Short: "List the optional parts of the charts that prove can show, and what they run on; refuse other names.",
		RunE: func(cmd *cobra.Command, args []string) error {
			features, err := proof.Features(args, workers)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), features)
		},
	}
	cmd.Flags().IntVar(&workers, "workers", 0, "nodes of the cluster beside the control plane")
	return cmd
}

func newDeploy() *cobra.Command {
	var (
		s          proof.Session
		kubeconfig string
	)
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Have Argo CD run a commit, by digest, for a person at localhost.",
		Long: `Have Argo CD run exactly one commit with exactly one image, configured for a person at localhost: the app
on port 8000, the API on 4001, and both through the ingress on 8080. The nodes' ports 30800, 30401 and 30080
have to lead there.`,
		Example: `  gitops deploy --kubeconfig kubeconfig --git http://git:8080/backstage-gitops.git --revision $(git rev-parse HEAD) \
    --image docker.io/user/backstage-gitops --digest sha256:…`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if s.Client, err = kube.Connect(kubeconfig); err != nil {
				return err
			}
			if err := s.Deploy(cmd.Context()); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), s.Release)
		},
	}
	sessionFlags(cmd, &s, &kubeconfig)
	return cmd
}

// sessionFlags say what is to run, and where.
func sessionFlags(cmd *cobra.Command, s *proof.Session, kubeconfig *string) {
	kubeconfigFlag(cmd, kubeconfig)
	cmd.Flags().StringVar(&s.Git, "git", "", "the repository, as this program reaches it; pods reach it through a Service that is made")
	cmd.Flags().StringVar(&s.Branch, "branch", "main", "the branch whose tip is the revision")
	cmd.Flags().StringVar(&s.Revision, "revision", "", "the commit, its whole hash")
	cmd.Flags().StringVar(&s.Chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&s.Image, "image", "", "the image's name as the chart has it, without tag")
	cmd.Flags().StringVar(&s.Digest, "digest", "", "the image's digest, sha256:…")
	cmd.Flags().DurationVar(&s.Timeout, "timeout", 10*time.Minute, "how long one sync may take; what cannot succeed any more fails at once")
	required(cmd, "kubeconfig", "git", "revision", "image", "digest")
}
