package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// passwordVariable is the environment variable that holds the registry's password.
const passwordVariable = "GITOPS_REGISTRY_PASSWORD"

// checked is the result of gitops image check.
type checked struct {
	image.Inspection
	Findings []image.Finding `json:"findings"`
}

func newImage() *cobra.Command {
	return group("image", "Publish images, copy them, and look at published ones.", newImagePlatforms(), newImagePreflight(), newImagePublish(), newImageTag(), newImageRetag(), newImageCopy(), newImageInspect(), newImageCheck())
}

func newImagePlatforms() *cobra.Command {
	var (
		engine string
		proven bool
		ran    []string
	)
	cmd := &cobra.Command{
		Use:   "platforms PLATFORM…",
		Short: "Check and sort the platforms to make an image for.",
		Long: `Check the platforms to make an image for, and print them sorted, each by the name that registries
have for it. Refused: what is no platform of the base images, one twice, several without linux/amd64,
with --proven a list without that of --engine, and with --ran what does not run.`,
		Example: `  gitops image platforms --engine linux/amd64 --proven linux/amd64 linux/arm64
  gitops image platforms --engine linux/amd64 --ran linux/arm64=arm64 linux/arm64`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := image.Platforms(args, engine, proven)
			if err != nil {
				return err
			}
			for _, r := range ran {
				platform, said, _ := strings.Cut(r, "=")
				if err := image.Runs(platform, said); err != nil {
					return err
				}
			}
			return printJSON(cmd.OutOrStdout(), found)
		},
	}
	cmd.Flags().StringVar(&engine, "engine", "", "the platform of the engine that makes the image")
	cmd.Flags().BoolVar(&proven, "proven", false, "the image is proven on that engine")
	cmd.Flags().StringArrayVar(&ran, "ran", nil, "PLATFORM=TEXT: what Node said there of its process.arch, or the error; repeatable")
	required(cmd, "engine")
	return cmd
}

func newImagePreflight() *cobra.Command {
	var (
		o      image.Options
		folder string
	)
	cmd := &cobra.Command{
		Use:   "preflight NAME",
		Short: "Find out, before anything is built, whether an image could be pushed.",
		Long: `Find out, before anything is built, whether the registry takes a push to the image's repository, and with
--chart to that of the chart beside it. An upload is begun and given up; nothing is pushed.

With --username the password is read from ` + passwordVariable + `; otherwise the docker CLI's own
sign-in is used.`,
		Example: `  gitops image preflight docker.io/user/backstage-gitops --chart charts/backstage`,
		Args:    oneArg("image name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Password = os.Getenv(passwordVariable)
			repositories := args
			if err := image.MayPush(cmd.Context(), args[0], o); err != nil {
				return err
			}
			if folder != "" {
				name, err := chart.NameBeside(cmd.Context(), folder, args[0])
				if err != nil {
					return err
				}
				if err := image.MayPush(cmd.Context(), name, o); err != nil {
					return fmt.Errorf("the chart cannot go beside the image: %w; --publish-chart=false of release leaves it out", err)
				}
				repositories = append(repositories, name)
			}
			return printJSON(cmd.OutOrStdout(), map[string][]string{"repositories": repositories})
		},
	}
	cmd.Flags().StringVar(&folder, "chart", "", "the folder of a chart that is published beside the image")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&o.Username, "username", "", "the registry's user name")
	return cmd
}

func newImagePublish() *cobra.Command {
	var (
		o        image.Options
		p        image.Publication
		archives []string
		created  string
	)
	cmd := &cobra.Command{
		Use:   "publish REF",
		Short: "Push an image from an OCI archive under its tags.",
		Long: `Push an image from an OCI archive under its tags and print its digest. The image and its history are
stamped with --created instead of the time of the build, so the same files make the same digest.

Several archives, each of another platform, are pushed as one image of several platforms: an OCI index,
which does not depend on their order.

A tag that is another image already is refused, and then nothing is pushed. Tags that move are taken:
latest, main, 1, 1.2, pr-7; with --retag any. A registry that fails or limits requests is asked again a few
times; a push that was interrupted goes on from what the registry holds.

With --username the password is read from ` + passwordVariable + `; otherwise the docker CLI's own
sign-in is used.`,
		Example: `  gitops image publish docker.io/user/backstage-gitops:1.4.0 --archive image.tar --created 2026-11-23T12:00:00Z --also-tag 1.4 --also-tag latest
  gitops image publish docker.io/user/backstage-gitops:1.4.0 --archive amd64.tar --archive arm64.tar --created 2026-11-23T12:00:00Z`,
		Args: oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := time.Parse(time.RFC3339, created)
			if err != nil {
				return usageError{fmt.Errorf("--created %q is no time in RFC 3339, such as 2026-11-23T12:00:00Z; see %s --help", created, cmd.CommandPath())}
			}
			o.Password = os.Getenv(passwordVariable)
			p.Created = at
			published, err := image.Publish(cmd.Context(), archives, args[0], p, o)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), published)
		},
	}
	cmd.Flags().StringArrayVar(&archives, "archive", nil, "the OCI archive, a tar file; repeatable, one for each platform")
	cmd.Flags().StringVar(&created, "created", "", "the image's time, RFC 3339")
	cmd.Flags().StringArrayVar(&p.AlsoTags, "also-tag", nil, "another tag for the same image, repeatable")
	cmd.Flags().StringVar(&p.Digest, "digest", "", "refuse any image but this one")
	cmd.Flags().BoolVar(&p.Retag, "retag", false, "take a tag from another image even if it does not move")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&o.Username, "username", "", "the registry's user name")
	required(cmd, "archive", "created")
	return cmd
}

// tagged is the result of gitops image tag.
type tagged struct {
	image.Published
	// Left are tags that were not given.
	Left []string `json:"left"`
}

func newImageTag() *cobra.Command {
	var (
		o            image.Options
		p            image.Publication
		t            commit.Target
		with         access
		repo, folder string
	)
	cmd := &cobra.Command{
		Use:   "tag REF --also-tag TAG",
		Short: "Give an image in its registry more tags.",
		Long: `Give an image in its registry, named by its digest, more tags, and print them. What tags may be taken
from another image is as with publish. A tag that it has stays, so a second run changes nothing.

With --remote, tags that move are given only while the chart on the branch names this image, and printed as "left"
otherwise: a release that ends after a later one does not take them back.`,
		Example: `  gitops image tag docker.io/user/backstage-gitops@sha256:… --also-tag 1.4 --also-tag latest
  gitops image tag docker.io/user/backstage-gitops@sha256:… --also-tag main --remote https://github.com/owner/repository.git`,
		Args: oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(p.AlsoTags) == 0 {
				return usageError{fmt.Errorf("%s wants --also-tag; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
			}
			o.Password = os.Getenv(passwordVariable)
			ctx, result := cmd.Context(), tagged{Left: []string{}}
			if t.Remote != "" {
				ctx, cancel, err := with.reach(cmd, &t)
				if err != nil {
					return err
				}
				defer cancel()
				named, err := commit.Named(ctx, repo, folder, t)
				if err != nil {
					return err
				}
				if _, digest, _ := strings.Cut(args[0], "@"); named.Digest != digest {
					p.AlsoTags, result.Left = image.Fixed(p.AlsoTags)
					slog.Info("the branch names another image by now, so tags that move stay with that", "branch", t.Branch, "digest", named.Digest, "left", result.Left)
				}
			}
			var err error
			if result.Published, err = image.AddTags(ctx, args[0], p, o); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&p.AlsoTags, "also-tag", nil, "a tag to give it, repeatable")
	f.BoolVar(&p.Retag, "retag", false, "take a tag from another image even if it does not move")
	f.BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	f.StringVar(&o.Username, "username", "", "the registry's user name")
	f.StringVar(&t.Remote, "remote", "", "the URL of the Git remote whose branch says which image is the last, without a credential")
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	f.StringVar(&folder, "chart", "charts/backstage", "the chart's folder in the repository")
	f.StringVar(&repo, "repo", ".", "the checkout")
	f.StringVar(&with.api, "api-url", "", "the URL of GitHub's API, for an App (default that of the remote's host)")
	f.DurationVar(&with.wait, "timeout", 5*time.Minute, "the longest time to take for the remote")
	t.Credential.Username = "x-access-token"
	appFlags(f, &with.app)
	return cmd
}

func newImageRetag() *cobra.Command {
	var (
		o         image.Options
		from, own string
	)
	cmd := &cobra.Command{
		Use:   "retag REF --from DIGEST --tag TAG",
		Short: "Give an image the tags that move and are those of another one, as a rollback does.",
		Long: `Give an image in its registry, named by its digest, the tags that move and are those of --from now, and print
them. Those of a line of versions, 1 and 1.2, go to a version of that line only; what its own tag --tag does not suit
is left where it is, and printed too. No other tag is touched. A second run finds nothing to do, and an interrupted one goes
on.

With --username the password is read from ` + passwordVariable + `; otherwise the docker CLI's own
sign-in is used.`,
		Example: `  gitops image retag docker.io/user/backstage-gitops@sha256:… --tag 1.4.0 --from sha256:…`,
		Args:    oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Password = os.Getenv(passwordVariable)
			retagged, err := image.Retag(cmd.Context(), args[0], from, own, o)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), retagged)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the digest of the image whose tags it is given")
	cmd.Flags().StringVar(&own, "tag", "", "the image's own tag, by which it is known whose line it is of")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&o.Username, "username", "", "the registry's user name")
	required(cmd, "from", "tag")
	return cmd
}

func newImageInspect() *cobra.Command {
	var (
		o      image.Options
		layers bool
	)
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Print an image's digest, sizes and configuration.",
		Long: `Print an image's digest, sizes and configuration, read from its registry. With --layers=false its layers are not
read, only seen to be there: no size on disk then, and no number of files. With --username the
password is read from ` + passwordVariable + `; otherwise the docker CLI's own sign-in is used.`,
		Example: `  gitops image inspect docker.io/user/backstage-gitops:1.4.0
  gitops image inspect --plain-http registry:5000/backstage-gitops@sha256:…`,
		Args: oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Password = os.Getenv(passwordVariable)
			o.ManifestOnly = !layers
			i, _, err := image.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), i)
		},
	}
	registryFlags(cmd, &o)
	cmd.Flags().BoolVar(&layers, "layers", true, "read the image's layers")
	return cmd
}

func newImageCheck() *cobra.Command {
	var (
		o                   image.Options
		maxPacked, maxPlain int64
		allow               []string
	)
	cmd := &cobra.Command{
		Use:   "check REF",
		Short: "Check that an image is slim and bare.",
		Long: `Check that an image is slim and bare: its sizes, a numeric non-root user, an entrypoint that is
the program itself, the OCI labels, and no package manager, compiler, shell, header, source,
source map, type declaration, test or set-user-ID program. Findings are printed, and fail the check.`,
		Example: `  gitops image check --plain-http registry:5000/backstage-gitops:1.4.0
  gitops image check --allow shell docker.io/user/backstage-gitops:1.4.0`,
		Args: oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Password = os.Getenv(passwordVariable)
			i, files, err := image.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			found := image.Check(i, files, image.Limits{CompressedBytes: maxPacked * 1e6, DiskBytes: maxPlain * 1e6}, allow...)
			if err := printJSON(cmd.OutOrStdout(), checked{Inspection: i, Findings: append([]image.Finding{}, found...)}); err != nil {
				return err
			}
			if len(found) > 0 {
				return fmt.Errorf("%s: %w: %s", args[0], errNotSlim, image.Summary(found))
			}
			return nil
		},
	}
	registryFlags(cmd, &o)
	cmd.Flags().Int64Var(&maxPacked, "max-compressed", image.SlimLimits.CompressedBytes/1e6, "the most MB to pull, 0 for any")
	cmd.Flags().Int64Var(&maxPlain, "max-disk", image.SlimLimits.DiskBytes/1e6, "the most MB on disk, 0 for any")
	cmd.Flags().StringArrayVar(&allow, "allow", nil, "a rule that does not apply, as named in a finding, repeatable")
	return cmd
}

var errNotSlim = errors.New("not the slim image it should be")

func registryFlags(cmd *cobra.Command, o *image.Options) {
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&o.Username, "username", "", "the registry's user name")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "the platform to read of an image of several (default linux/amd64, else the first)")
}
