package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/proof"
)

func newEvidence() *cobra.Command {
	var file, out string
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Write the evidence of a run around a proof, or of one that ended before it.",
		Long: `Add to the proof in --out, as gitops prove wrote it, what happened around it: the phases of the run with their
times, what was made, why it ended. If there is no proof in --out, the evidence is that of a run that ended
before it, and the failure says why. The cluster's logs, as gitops cluster logs writes them, may be in --out/logs:
their ends become part of the page.

The run is a JSON object: {"revision", "branch", "image", "digest", "chart", "failure", "phases":
[{"name","start","seconds","error","cluster","argocd"}], "proofBegan", "missing"}; times are in seconds after it began. Of
several phases with an error the first to end is the one that failed; the others ended early.`,
		Example: `  gitops evidence --run run.json --out proof`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin(), file)
			if err != nil {
				return fmt.Errorf("read the run: %w", err)
			}
			var run struct {
				proof.Release
				proof.Run
			}
			if err := json.Unmarshal(in, &run); err != nil {
				return fmt.Errorf("%s is no run: %w", file, err)
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("the folder of the evidence: %w", err)
			}
			gathered, err := proof.Gather(out, run.Release, run.Run)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), gathered)
		},
	}
	cmd.Flags().StringVar(&file, "run", "-", "the run's JSON, - for standard input")
	cmd.Flags().StringVar(&out, "out", "proof", "the folder of the proof")
	return cmd
}
