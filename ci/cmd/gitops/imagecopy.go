package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

func newImageCopy() *cobra.Command {
	var from, to image.Options
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy an image by its digest to another registry.",
		Long: `Copy an image by its digest to another registry, where a rollback runs it. The copy has the same
digest, a list of platforms is copied whole, and blobs that are there already are not sent again.
A DST without a tag gets none.

With --username the password of SRC's registry is read from ` + passwordVariable + `; otherwise, and for
DST, the docker CLI's own sign-in is used.`,
		Example: `  gitops image copy docker.io/user/backstage-gitops@sha256:… registry:5000/user/backstage-gitops:1.4.0 --to-plain-http`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && args[0] != "" && args[1] != "" {
				return nil
			}
			return usageError{fmt.Errorf("%s wants two image references, SRC and DST; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			from.Password = os.Getenv(passwordVariable)
			ref, digest, err := image.Copy(cmd.Context(), args[0], args[1], from, to)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), copied{Ref: ref, Digest: digest})
		},
	}
	cmd.Flags().BoolVar(&from.PlainHTTP, "from-plain-http", false, "talk http to SRC's registry")
	cmd.Flags().BoolVar(&to.PlainHTTP, "to-plain-http", false, "talk http to DST's registry")
	cmd.Flags().StringVar(&from.Username, "username", "", "the user name at SRC's registry")
	return cmd
}

// copied is the result of gitops image copy.
type copied struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
}
