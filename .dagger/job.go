package main

import (
	"encoding/json"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// result is what `gitops actions result` tells a job of GitHub Actions.
type result struct {
	Title   string            `json:"title"`
	Failure string            `json:"failure"`
	Summary string            `json:"summary"`
	Outputs map[string]string `json:"outputs"`
}

// markdown is the result as a report for people.
func (r result) markdown() string {
	if r.Failure == "" {
		return r.Summary
	}
	return strings.TrimSpace("## "+r.Title+" failed\n\n"+r.Failure+"\n\n"+r.Summary) + "\n"
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
