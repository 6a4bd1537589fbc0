package main

import (
	"context"
	"fmt"
	"slices"

	"dagger/backstage-gitops/internal/dagger"
)

// platformInfo is what `gitops image platforms` says of a platform.
type platformInfo struct {
	Platform string
	Native   bool
}

// choose reads the platforms that the image is to be for; arguments are more of the
// helper program's.
func (r *releaser) choose(ctx context.Context, args ...string) error {
	if len(r.target.platforms) == 0 {
		return nil
	}
	engine, err := dag.DefaultPlatform(ctx)
	if err != nil {
		return fmt.Errorf("read the engine's platform: %w", err)
	}
	args = append([]string{"image", "platforms", "--engine", string(engine), fmt.Sprintf("--proven=%t", r.target.proven)}, args...)
	return run(ctx, r.box, &r.platforms, append(append(args, "--"), r.target.platforms...)...)
}

// runs refuses a platform that the engine cannot pull or run, before minutes of
// building for it.
func (r *releaser) runs(ctx context.Context) error {
	if r.digest != "" {
		return nil
	}
	var args []string
	for _, platform := range r.builds() {
		if platform == "" {
			continue
		}
		said, err := probe(platform).Stdout(ctx)
		if err != nil {
			said = explained(err).Error()
		}
		args = append(args, "--ran", string(platform)+"="+said)
	}
	return r.choose(ctx, args...)
}

// builds are the platforms to build for. The engine's own is none, so that what was
// built without platforms is built.
func (r *releaser) builds() []dagger.Platform {
	var all []dagger.Platform
	for _, p := range r.platforms {
		platform := dagger.Platform(p.Platform)
		if p.Native {
			platform = ""
		}
		all = append(all, platform)
	}
	if all == nil {
		all = append(all, "")
	}
	return all
}

// madeFor says whether a published image is of the platforms asked for. Where none
// are, one of any is.
func (r *releaser) madeFor(image map[string]any) bool {
	var asked []any
	for _, p := range r.platforms {
		asked = append(asked, p.Platform)
	}
	of, _ := image["platforms"].([]any)
	return asked == nil || slices.Equal(of, asked)
}

// onPlatform is a platform in a sentence, nothing for the engine's own.
func onPlatform(platform dagger.Platform) string {
	if platform == "" {
		return ""
	}
	return " for " + string(platform)
}
