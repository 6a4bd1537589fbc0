package githubtest

import (
	"net/http"
	"slices"
	"strings"
)

// Run is a run of a workflow that somebody has started by hand. Nothing runs.
type Run struct {
	// Workflow is the name of its file, Ref the branch that it is of.
	Workflow, Ref string
	Inputs        map[string]string
}

// Runs are those of a repository, OWNER/NAME.
func (s *Server) Runs(name string) []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.runs[name])
}

func (s *Server) dispatch(c *call) (int, any, error) {
	var in struct {
		Ref    string
		Inputs map[string]string
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	ref := strings.TrimPrefix(in.Ref, "refs/heads/")
	if _, err := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", "refs/heads/"+ref); err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "No ref found for: %s", in.Ref)
	}
	workflow := c.PathValue("workflow")
	text, err := c.repo.Run(c.Context(), "cat-file", "blob", "refs/heads/"+ref+":.github/workflows/"+workflow)
	switch {
	case err != nil:
		return 0, nil, refuse(http.StatusNotFound, "Not Found")
	case !strings.Contains(text, "workflow_dispatch:"):
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	for name := range in.Inputs {
		if !strings.Contains(text, "\n      "+name+":\n") {
			return 0, nil, refuse(http.StatusUnprocessableEntity, "Unexpected inputs provided: [%q]", name)
		}
	}
	s.runs[c.name] = append(s.runs[c.name], Run{workflow, ref, in.Inputs})
	return http.StatusNoContent, nil, nil
}

func (s *Server) listRuns(c *call) (int, any, error) {
	found := []any{}
	for _, r := range s.runs[c.name] {
		found = append(found, map[string]any{"path": ".github/workflows/" + r.Workflow, "head_branch": r.Ref, "event": "workflow_dispatch"})
	}
	return http.StatusOK, map[string]any{"total_count": len(found), "workflow_runs": found}, nil
}
