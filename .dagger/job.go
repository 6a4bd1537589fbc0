package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dagger/backstage-gitops/internal/dagger"
)

// result is what `gitops actions result` tells a job of GitHub Actions.
type result struct {
	Title   string            `json:"title"`
	Failure string            `json:"failure"`
	Summary string            `json:"summary"`
	Outputs map[string]string `json:"outputs"`
}

// redacted is the result without the secrets that the toolbox has, and a folder with it
// for programs and for people: result.json and report.md.
func (r result) redacted(ctx context.Context, box *dagger.Container) (clean result, dir *dagger.Directory, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return clean, nil, err
	}
	dir = box.
		WithNewFile("/facts.json", string(text)).
		WithExec([]string{"mkdir", "-p", "/report"}).
		WithExec([]string{"gitops", "report", "result", "--facts", "/facts.json", "--json", "/report/result.json", "--markdown", "/report/report.md"}).
		Directory("/report")
	written, err := dir.File("result.json").Contents(ctx)
	if err == nil {
		err = json.Unmarshal([]byte(written), &clean)
	}
	if err != nil {
		return clean, nil, fmt.Errorf("write the report: %w", err)
	}
	return clean, dir, nil
}

func (r result) file() (*dagger.File, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return dag.Directory().WithNewFile("result.json", string(text)).File("result.json"), nil
}

// job is what tells a job of GitHub Actions, on its runner, of a result.
func job(program, result *dagger.File, report *dagger.Directory) *dagger.Directory {
	return dag.Directory().WithFile("gitops", program).WithFile("result.json", result).WithDirectory("report", report)
}
