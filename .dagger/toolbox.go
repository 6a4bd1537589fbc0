package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// goContainer is Go with its caches on volumes, at work on the source. Static
// binaries: they run in any image. What is tested and linted is compiled by the
// same flags as what is built: other ones would compile every package again.
func goContainer(source *dagger.Directory) *dagger.Container {
	return from(goImage).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("backstage-gitops-gomod")).
		WithMountedCache("/root/.cache/go-build", dag.CacheVolume("backstage-gitops-gobuild")).
		WithEnvVariable("CGO_ENABLED", "0").
		WithEnvVariable("GOFLAGS", "-buildvcs=false -trimpath").
		WithWorkdir("/src").
		WithDirectory(".", source)
}

// gitops is the helper program, compiled from ci/cmd/gitops.
func (m *BackstageGitops) gitops() *dagger.File { return m.program("./ci/cmd/gitops") }

// program is a program of ci/.
func (m *BackstageGitops) program(path string) *dagger.File {
	return goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci/**/*.go", "ci/proof/*"},
		Exclude: []string{"ci/slim", "ci/airgap", "ci/attest", "ci/cmd/airgap", "**/*_test.go"},
	})).
		WithExec([]string{"go", "build", "-ldflags", "-s -w", "-o", "/program", path}).
		File("/program")
}

// toolbox is where the helper program runs: beside git, with the checkout.
func (m *BackstageGitops) toolbox() *dagger.Container {
	return from(goImage).
		WithFile("/usr/local/bin/gitops", m.gitops()).
		WithMountedDirectory("/checkout", m.Repo).
		WithWorkdir("/checkout")
}

// run runs the helper program and decodes what it prints. Its own sentence is
// the error where it fails, without the noise of the exec around it.
func run(ctx context.Context, ctr *dagger.Container, result any, args ...string) error {
	return runProgram(ctx, ctr, "gitops", result, args...)
}

// runProgram runs one of the programs of ci/, as run does.
func runProgram(ctx context.Context, ctr *dagger.Container, program string, result any, args ...string) error {
	ran := ctr.WithExec(append([]string{program}, args...), dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if err := succeeded(ctx, ran); err != nil {
		return err
	}
	out, err := ran.Stdout(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	if err := json.Unmarshal([]byte(out), result); err != nil {
		return fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return nil
}

// anew is a container whose commands are run again, however often they were.
func anew(ctr *dagger.Container) *dagger.Container {
	return ctr.WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano))
}

// failureOf is the sentence of a program that failed, nothing where it did not. That
// it could not be run at all is the error.
func failureOf(ctx context.Context, ran *dagger.Container) (string, error) {
	code, err := ran.ExitCode(ctx)
	if err != nil || code == 0 {
		return "", err
	}
	stderr, err := ran.Stderr(ctx)
	if err != nil {
		return "", err
	}
	return cmp.Or(sentence(stderr), fmt.Sprintf("exit code %d", code)), nil
}

// succeeded is the sentence of a program that failed as an error.
func succeeded(ctx context.Context, ran *dagger.Container) error {
	said, err := failureOf(ctx, ran)
	if err != nil || said == "" {
		return err
	}
	code, err := ran.ExitCode(ctx)
	if err != nil {
		return err
	}
	if code == moved {
		return movedError(said)
	}
	return errors.New(said)
}

// moved is the helper program's exit code if the remote branch has moved since the
// candidate was verified.
const moved = 4

// movedError is its sentence then.
type movedError string

func (e movedError) Error() string { return string(e) }

// sentence is the error that a program of ci/ printed last.
func sentence(stderr string) string {
	stderr = "\n" + strings.TrimSpace(stderr)
	last := stderr
	at := -1
	for _, program := range []string{"\ngitops: ", "\nattest: "} {
		if i := strings.LastIndex(stderr, program); i > at {
			at, last = i, stderr[i+len(program):]
		}
	}
	return strings.TrimSpace(last)
}

// explained says in one sentence which command of a build failed, and why.
func explained(err error) error {
	var exec *dagger.ExecError
	if !errors.As(err, &exec) {
		return err
	}
	command := strings.Join(exec.Cmd, " ")
	// Yarn's code for a lockfile that an install would have to change.
	if strings.Contains(exec.Stdout, "YN0028") {
		return fmt.Errorf("%s: yarn.lock does not match the package.json files: run yarn install in the app and commit yarn.lock", command)
	}
	lines := strings.Split(strings.TrimSpace(cmp.Or(strings.TrimSpace(exec.Stderr), exec.Stdout)), "\n")
	return fmt.Errorf("%s: exit code %d: %s", command, exec.ExitCode, lines[len(lines)-1])
}

// sourceInfo is what `gitops source` says of the checkout.
type sourceInfo struct {
	InputsRevision string `json:"inputsRevision"`
	InputsTime     string `json:"inputsTime"`
	InputsEpoch    int    `json:"inputsEpoch"`
	// Inputs are the paths that decide the image's content.
	Inputs []string `json:"inputs"`
	Tag    string   `json:"tag"`
	// Tags are all tags of the image, Tag the first.
	Tags []string `json:"tags"`
	// Repository is the image's name in the chart.
	Repository repository `json:"repository"`

	// raw is the whole document, for the report.
	raw json.RawMessage
}

type repository struct {
	Registry string `json:"registry"`
	Path     string `json:"path"`
}

func (r repository) name() string { return r.Registry + "/" + r.Path }

func (s *sourceInfo) UnmarshalJSON(data []byte) error {
	type plain sourceInfo
	if err := json.Unmarshal(data, (*plain)(s)); err != nil {
		return err
	}
	s.raw = append(json.RawMessage(nil), data...)
	return nil
}

var (
	errNoApp      = errors.New("no Backstage app at --source: packages/backend/package.json is missing there")
	errNoRevision = errors.New("the app at --source is no Git checkout, so nothing says which revision this is: give the root folder of a clone to release it; app, image and serve take it as it is")
)

type inspectOpts struct {
	tag, branch string
	pullRequest int
}

// inspect reads what a release of HEAD is made of, and refuses what cannot be
// released.
func (m *BackstageGitops) inspect(ctx context.Context, opts inspectOpts) (*sourceInfo, error) {
	box, args := m.toolbox(), []string{"source", "--repo", "."}
	if m.AppRepo == nil {
		for _, p := range imageInputs {
			args = append(args, "--input", p)
		}
	} else {
		for _, want := range []struct {
			path    string
			missing error
		}{{"packages/backend/package.json", errNoApp}, {".git", errNoRevision}} {
			found, err := m.AppRepo.Exists(ctx, want.path)
			if err != nil {
				return nil, fmt.Errorf("read --source: %w", err)
			}
			if !found {
				return nil, want.missing
			}
		}
		box = box.WithMountedDirectory("/source", m.AppRepo)
		args = append(args, "--app-repo", "/source", "--app", ".", "--input", ".")
	}
	if opts.tag != "" {
		args = append(args, "--tag", opts.tag)
	}
	if opts.branch != "" {
		args = append(args, "--branch", opts.branch)
	}
	if opts.pullRequest != 0 {
		args = append(args, "--pull-request", strconv.Itoa(opts.pullRequest))
	}
	var source sourceInfo
	if err := run(ctx, box, &source, args...); err != nil {
		return nil, err
	}
	return &source, nil
}
