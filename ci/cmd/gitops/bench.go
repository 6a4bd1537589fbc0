package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/bench"
)

func newBench() *cobra.Command {
	return group("bench", "Compare with what a user would do otherwise.", newBenchStart(), newBenchTable(), newBenchSteps(), newBenchAttested())
}

func newBenchStart() *cobra.Command {
	var (
		urls  []string
		limit time.Duration
	)
	cmd := &cobra.Command{
		Use:   "start --url URL… -- PROGRAM [ARG]…",
		Short: "Start a program and measure how soon it is ready.",
		Long: `Start a program, ask each --url until it has answered 200, and kill the program. Prints the time
until then and the part of it in which others had the processors, the processor time and the most
memory that the program used.`,
		Example: `  gitops bench start --url http://localhost:4001/.backstage/health/v1/readiness -- node packages/backend`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && len(urls) > 0 {
				return nil
			}
			return usageError{fmt.Errorf("%s wants a program and one --url at least; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), limit, fmt.Errorf("after %s", limit))
			defer cancel()
			start, err := bench.Measure(ctx, args, urls)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), start)
		},
	}
	cmd.Flags().StringArrayVar(&urls, "url", nil, "an address that answers 200 once the program is ready, repeatable")
	cmd.Flags().DurationVar(&limit, "timeout", 2*time.Minute, "the most time to wait")
	return cmd
}

func newBenchTable() *cobra.Command {
	return newComparison(comparison[bench.Facts]{
		compare: bench.Compare, other: "stock", ours: "slim",
	}, &cobra.Command{
		Use:   "table",
		Short: "Make the table of what was measured, and hold the slim image to its limits.",
		Long: `Make the table of what was measured: an object with "stock" and "slim", each with
"compressedBytes", "diskBytes" and "files" (as in the output of gitops image inspect),
"starts" (the outputs of gitops bench start) and, where builds were timed, "buildSeconds" and
"changeSeconds". A limit that the slim image misses fails the command once the table is written.`,
		Example: `  gitops bench table --facts facts.json --markdown table.md`,
	})
}

func newBenchSteps() *cobra.Command {
	return newComparison(comparison[bench.Turns[bench.Steps]]{
		compare: bench.CompareSteps, other: "by hand", ours: "here",
	}, &cobra.Command{
		Use:   "steps",
		Short: "Make the table of a cluster's steps, and hold those of gitops to their limits.",
		Long: `Make the table of a cluster's steps: an object with "hand" and "here", each a list of what
ci/bench/cluster.sh printed. A limit that is missed fails the command once the table is written.`,
		Example: `  gitops bench steps --facts facts.json --markdown table.md`,
	})
}

func newBenchAttested() *cobra.Command {
	return newComparison(comparison[bench.Turns[bench.Attested]]{
		compare: bench.CompareAttested, other: "by hand", ours: "here",
	}, &cobra.Command{
		Use:   "attested",
		Short: "Make the table of attestations, and hold those of the program attest to their limits.",
		Long: `Make the table of attestations: an object with "hand" and "here", each a list of what ci/bench/attest.sh
printed. A limit that is missed fails the command once the table is written.`,
		Example: `  gitops bench attested --facts facts.json --markdown table.md`,
	})
}

// comparison makes a table of one kind of facts.
type comparison[Facts any] struct {
	compare func(Facts) ([]bench.Row, error)
	// other and ours are the names of the columns.
	other, ours string
}

func newComparison[Facts any](c comparison[Facts], cmd *cobra.Command) *cobra.Command {
	var facts, markdownFile string
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		in, err := readInput(cmd.InOrStdin(), facts)
		if err != nil {
			return fmt.Errorf("read the facts: %w", err)
		}
		var f Facts
		if err := json.Unmarshal(in, &f); err != nil {
			return fmt.Errorf("%w: %w", bench.ErrFacts, err)
		}
		rows, err := c.compare(f)
		if err != nil {
			return err
		}
		if err := writeOutput(markdownFile, bench.Markdown(rows, c.other, c.ours)); err != nil {
			return err
		}
		if err := printJSON(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
		return bench.Missed(rows)
	}
	cmd.Flags().StringVar(&facts, "facts", "-", "the file with the facts, - for standard input")
	cmd.Flags().StringVar(&markdownFile, "markdown", "", "write the table here as Markdown")
	return cmd
}
