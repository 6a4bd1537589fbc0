package githubtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) pullJSON(c *call, p *Pull) map[string]any {
	owner, _, _ := strings.Cut(c.name, "/")
	// A branch that was deleted since has no tip.
	tip, _ := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", "refs/heads/"+p.Head)
	labels := []map[string]string{}
	for _, l := range p.Labels {
		labels = append(labels, map[string]string{"name": l})
	}
	return map[string]any{
		"number": p.Number, "state": p.State, "title": p.Title, "body": p.Body, "labels": labels,
		"node_id":  fmt.Sprintf("PR_%s#%d", c.name, p.Number),
		"html_url": fmt.Sprintf("http://%s/%s/pull/%d", c.Host, c.name, p.Number),
		"head":     map[string]any{"ref": p.Head, "sha": tip, "label": owner + ":" + p.Head},
		"base":     map[string]any{"ref": p.Base},
	}
}

func (s *Server) listPulls(c *call) (int, any, error) {
	q := c.URL.Query()
	_, head, _ := strings.Cut(q.Get("head"), ":")
	found := []any{}
	for _, p := range s.pulls[c.name] {
		if (q.Get("state") == "all" || p.State == "open") && (head == "" || p.Head == head) && (q.Get("base") == "" || p.Base == q.Get("base")) {
			found = append(found, s.pullJSON(c, p))
		}
	}
	return http.StatusOK, found, nil
}

func (s *Server) createPull(c *call) (int, any, error) {
	var in struct{ Title, Body, Head, Base string }
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if out, err := c.repo.Run(c.Context(), "rev-list", "-1", "refs/heads/"+in.Base+"..refs/heads/"+in.Head); err != nil || out == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Validation Failed: No commits between %s and %s", in.Base, in.Head)
	}
	for _, p := range s.pulls[c.name] {
		if p.State == "open" && p.Head == in.Head && p.Base == in.Base {
			return 0, nil, refuse(http.StatusUnprocessableEntity, "Validation Failed: A pull request already exists for %s.", in.Head)
		}
	}
	p := &Pull{Number: len(s.pulls[c.name]) + 1, State: "open", Title: in.Title, Body: in.Body, Head: in.Head, Base: in.Base, Login: c.login()}
	s.pulls[c.name] = append(s.pulls[c.name], p)
	return http.StatusCreated, s.pullJSON(c, p), nil
}

func (s *Server) pull(c *call) (*Pull, error) {
	n, err := strconv.Atoi(c.PathValue("number"))
	if err != nil || n < 1 || n > len(s.pulls[c.name]) {
		return nil, refuse(http.StatusNotFound, "Not Found")
	}
	return s.pulls[c.name][n-1], nil
}

func (s *Server) updatePull(c *call) (int, any, error) {
	p, err := s.pull(c)
	if err != nil {
		return 0, nil, err
	}
	var in struct{ Title, Body, State *string }
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	for to, from := range map[*string]*string{&p.Title: in.Title, &p.Body: in.Body, &p.State: in.State} {
		if from != nil {
			*to = *from
		}
	}
	return http.StatusOK, s.pullJSON(c, p), nil
}

func (s *Server) addLabels(c *call) (int, any, error) {
	p, err := s.pull(c)
	if err != nil {
		return 0, nil, err
	}
	var in []string
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	for _, l := range in {
		if !slices.Contains(p.Labels, l) {
			p.Labels = append(p.Labels, l)
		}
	}
	return http.StatusOK, s.pullJSON(c, p)["labels"], nil
}

func (s *Server) mergePull(c *call) (int, any, error) {
	p, err := s.pull(c)
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		SHA     string
		Method  string `json:"merge_method"`
		Title   string `json:"commit_title"`
		Message string `json:"commit_message"`
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if p.State != "open" {
		return 0, nil, refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	tips := make([]string, 2)
	for i, branch := range []string{p.Base, p.Head} {
		if tips[i], err = c.repo.Run(c.Context(), "rev-parse", "--verify", "refs/heads/"+branch); err != nil {
			return 0, nil, err
		}
	}
	if in.SHA != "" && in.SHA != tips[1] {
		return 0, nil, refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	}
	tree, err := c.repo.Run(c.Context(), "merge-tree", "--write-tree", tips[0], tips[1])
	if err != nil {
		return 0, nil, refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	if in.Method == "squash" {
		tips = tips[:1]
	}
	message := cmp.Or(in.Title, fmt.Sprintf("%s (#%d)", p.Title, p.Number)) + "\n\n" + in.Message
	if p.MergedSHA, err = c.make(message, tree, c.login(), "noreply@github.com", tips...); err != nil {
		return 0, nil, err
	}
	if code, body, err := s.move(c, p.Base, p.MergedSHA, false); err != nil {
		return code, body, err
	}
	p.State = "closed"
	return http.StatusOK, map[string]any{"merged": true, "sha": p.MergedSHA}, nil
}

// graphQL knows the one mutation that a release uses.
func (s *Server) graphQL(w http.ResponseWriter, r *http.Request) {
	token, ok := s.token(bearer(r))
	if !ok {
		fail(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	var in struct {
		Query     string
		Variables struct{ ID, Method, Head, Body string }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !strings.Contains(in.Query, "enablePullRequestAutoMerge(") {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	wrong := func(format string, args ...any) {
		answer(w, http.StatusOK, map[string]any{"errors": []map[string]string{{"message": fmt.Sprintf(format, args...)}}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, number, _ := strings.Cut(strings.TrimPrefix(in.Variables.ID, "PR_"), "#")
	n, _ := strconv.Atoi(number)
	if n < 1 || n > len(s.pulls[name]) {
		wrong("Could not resolve to a node with the global id of '%s'", in.Variables.ID)
		return
	}
	p := s.pulls[name][n-1]
	switch _, guarded := s.config.Protected[p.Base]; {
	case !token.may("pull_requests=write"):
		wrong("Resource not accessible by personal access token")
	case !s.config.AutoMerge:
		wrong("Pull request Auto merge is not allowed for this repository")
	case !guarded:
		wrong("Pull request Pull request is in clean status")
	default:
		p.AutoMerge, p.MergeBody = in.Variables.Method, in.Variables.Body
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"enablePullRequestAutoMerge": map[string]any{"clientMutationId": nil}}})
	}
}
