package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
)

// bumped is the result of gitops bump.
type bumped struct {
	// Nothing says that the chart names the image already.
	Nothing bool        `json:"nothing"`
	Edits   []bump.Edit `json:"edits"`
}

func newBump() *cobra.Command {
	var (
		chart string
		pin   bump.Pin
	)
	cmd := &cobra.Command{
		Use:   "bump",
		Short: "Point a chart in a folder at an image.",
		Long: `Point a chart in a folder at an image: image.tag and image.digest of values.yaml, appVersion and
version (one patch higher) of Chart.yaml. Every other byte stays, comments, order and quotes too.
A chart that names tag and digest already is left as it is.`,
		Example: `  gitops bump --chart charts/backstage --tag 1.4.0 --digest sha256:…`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			edits, err := bump.Dir(chart, pin)
			if err != nil {
				return err
			}
			if len(edits) == 0 {
				slog.Info("nothing to bump: the chart names the image already")
				edits = []bump.Edit{}
			}
			return printJSON(cmd.OutOrStdout(), bumped{Nothing: len(edits) == 0, Edits: edits})
		},
	}
	cmd.Flags().StringVar(&chart, "chart", "charts/backstage", "the chart's folder")
	pinFlags(cmd, &pin)
	required(cmd, "tag", "digest")
	return cmd
}

func pinFlags(cmd *cobra.Command, pin *bump.Pin) {
	cmd.Flags().StringVar(&pin.Tag, "tag", "", "the image's tag")
	cmd.Flags().StringVar(&pin.Digest, "digest", "", "the image's digest, sha256:…")
}
