package proof

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// upgrade has the chart's former version run and replaces it by this one, with other values, while people use the
// portal.
func (s *Session) upgrade(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: the chart as it was released", nil); err != nil {
		return "", err
	}
	commit, from, to, err := s.former(ctx)
	if err != nil {
		return "", err
	}
	if err := s.repository.goBack(ctx, commit, s.Chart); err != nil {
		return "", err
	}
	// The image stays: it is the chart that is another one.
	tag, err := s.tag(ctx)
	if err != nil {
		return "", err
	}
	pin := map[string]any{"image": map[string]any{"repository": s.Image, "tag": tag, "digest": s.Digest}}
	revision, err := s.repository.commit(ctx, "test: go back to version "+from+" of the chart", pin, nil)
	if err != nil {
		return "", err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return "", fmt.Errorf("version %s of the chart: %w", from, err)
	}
	if err := until(ctx, arrives, s.signIn); err != nil {
		return "", err
	}
	old, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	people := s.visit(ctx)
	began := time.Now()
	err = s.shape(ctx, "test: upgrade the chart, with other values", map[string]any{
		"podDisruptionBudget": map[string]any{"enabled": true},
		"podLabels":           map[string]any{"proof": "upgraded"},
		"logLevel":            "warn",
		"drainSeconds":        8,
		"appConfig":           map[string]any{"organization": map[string]any{"name": "Upgraded"}},
	})
	if err == nil {
		err = s.gone(ctx, old.Name)
	}
	took := time.Since(began)
	asked, failed := people.stop()
	if err == nil {
		err = complaint(asked, failed, "")
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("from version %s of the chart (%.12s) to %s with five values changed in %.1f s; %d requests meanwhile, none failed",
		from, commit, to, took.Seconds(), asked), nil
}

// tag is that of the release, which its chart has.
func (s *Session) tag(ctx context.Context) (string, error) {
	text, err := s.repository.repo.Run(ctx, "show", s.platform.released+":"+s.Chart+"/values.yaml")
	if err != nil {
		return "", err
	}
	var values struct{ Image struct{ Tag string } }
	err = yaml.Unmarshal([]byte(text), &values)
	return values.Image.Tag, err
}

// former is the last commit at which the chart had another minor version than it has in the release.
func (s *Session) former(ctx context.Context) (commit, from, to string, err error) {
	log, err := s.repository.repo.Run(ctx, "log", "--format=%H", s.platform.released, "--", s.Chart)
	if err != nil {
		return "", "", "", err
	}
	commits := strings.Fields(log)
	now, err := s.version(ctx, s.platform.released)
	if err != nil {
		return "", "", "", err
	}
	for _, c := range commits {
		was, err := s.version(ctx, c)
		if err != nil {
			return "", "", "", err
		}
		if was.Major() != now.Major() || was.Minor() != now.Minor() {
			return c, was.String(), now.String(), nil
		}
	}
	return "", "", "", fmt.Errorf("the repository's %d commits of %s have no version before %s: fetch its whole history", len(commits), s.Chart, now)
}

// version is the chart's at a commit.
func (s *Session) version(ctx context.Context, commit string) (*semver.Version, error) {
	text, err := s.repository.repo.Run(ctx, "show", commit+":"+s.Chart+"/Chart.yaml")
	if err != nil {
		return nil, err
	}
	var chart struct{ Version string }
	if err := yaml.Unmarshal([]byte(text), &chart); err != nil {
		return nil, fmt.Errorf("Chart.yaml at %s: %w", commit, err)
	}
	return semver.NewVersion(chart.Version)
}
