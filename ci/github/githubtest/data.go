package githubtest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// object is how the API names an object.
type object struct {
	SHA string `json:"sha"`
}

func (s *Server) repository(c *call) (int, any, error) {
	return http.StatusOK, map[string]any{"full_name": c.name, "default_branch": "main", "private": true}, nil
}

func (s *Server) reference(c *call) (int, any, error) {
	ref := "refs/heads/" + c.PathValue("ref")
	sha, err := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", ref)
	if err != nil {
		return 0, nil, refuse(http.StatusNotFound, "Not Found")
	}
	return http.StatusOK, refJSON(ref, sha), nil
}

func (s *Server) branch(c *call) (int, any, error) {
	name := c.PathValue("branch")
	sha, err := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", "refs/heads/"+name)
	if err != nil {
		return 0, nil, refuse(http.StatusNotFound, "Branch not found")
	}
	_, protected := s.config.Protected[name]
	return http.StatusOK, map[string]any{"name": name, "commit": object{sha}, "protected": protected}, nil
}

func refJSON(ref, sha string) any {
	return map[string]any{"ref": ref, "object": map[string]string{"type": "commit", "sha": sha}}
}

func (s *Server) blob(c *call) (int, any, error) {
	var in struct{ Content, Encoding string }
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	text := []byte(in.Content)
	if in.Encoding == "base64" {
		var err error
		if text, err = base64.StdEncoding.DecodeString(in.Content); err != nil {
			return 0, nil, refuse(http.StatusUnprocessableEntity, "content is not valid Base64")
		}
	}
	sha, err := c.hash(text)
	return http.StatusCreated, object{sha}, err
}

func (c *call) hash(text []byte) (string, error) {
	out, err := c.repo.Do(c.Context(), git.Command{Args: []string{"hash-object", "-w", "--no-filters", "--stdin"}, Stdin: bytes.NewReader(text)})
	return strings.TrimSpace(string(out)), err
}

func (s *Server) tree(c *call) (int, any, error) {
	var in struct {
		BaseTree string `json:"base_tree"`
		Tree     []struct {
			Path, Mode, Type string
			SHA, Content     *string
		}
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	dir, err := os.MkdirTemp("", "githubtest-")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}
	if in.BaseTree != "" {
		if _, err := c.repo.Do(c.Context(), git.Command{Args: []string{"read-tree", in.BaseTree}, Env: index}); err != nil {
			return 0, nil, refuse(http.StatusNotFound, "Not Found")
		}
	}
	var list bytes.Buffer
	for _, e := range in.Tree {
		if e.Content != nil {
			sha, err := c.hash([]byte(*e.Content))
			if err != nil {
				return 0, nil, err
			}
			e.SHA = &sha
		}
		if e.SHA == nil {
			return 0, nil, refuse(http.StatusUnprocessableEntity, "tree.sha or tree.content must be supplied")
		}
		fmt.Fprintf(&list, "%s %s\t%s\x00", e.Mode, *e.SHA, e.Path)
	}
	if _, err := c.repo.Do(c.Context(), git.Command{Args: []string{"update-index", "-z", "--index-info"}, Stdin: &list, Env: index}); err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "tree is malformed")
	}
	out, err := c.repo.Do(c.Context(), git.Command{Args: []string{"write-tree"}, Env: index})
	if err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "tree.sha %v is not a valid blob", in.Tree)
	}
	return http.StatusCreated, object{strings.TrimSpace(string(out))}, nil
}

func (s *Server) commit(c *call) (int, any, error) {
	var in struct {
		Message, Tree string
		Parents       []string
		Author        *struct{ Name, Email string }
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if in.Message == "" || in.Tree == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Invalid request.")
	}
	name, email := c.login(), c.login()+"@users.noreply.github.com"
	if in.Author != nil {
		name, email = in.Author.Name, in.Author.Email
	}
	sha, err := c.make(in.Message, in.Tree, name, email, in.Parents...)
	if err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Tree SHA or parent does not exist")
	}
	made, err := c.show(sha)
	if err != nil {
		return 0, nil, err
	}
	made["verification"] = verification(c.token.Bot && in.Author == nil)
	return http.StatusCreated, made, nil
}

// make makes a commit; GitHub itself is the committer of those that it signs.
func (c *call) make(message, tree, name, email string, parents ...string) (string, error) {
	args := []string{"commit-tree", "-F", "-"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	out, err := c.repo.Do(c.Context(), git.Command{
		Args: append(args, tree), Stdin: strings.NewReader(message),
		Env: []string{
			"GIT_AUTHOR_NAME=" + name, "GIT_AUTHOR_EMAIL=" + email,
			"GIT_COMMITTER_NAME=GitHub", "GIT_COMMITTER_EMAIL=noreply@github.com",
		},
	})
	return strings.TrimSpace(string(out)), err
}

func verification(verified bool) map[string]any {
	return map[string]any{"verified": verified, "reason": map[bool]string{true: "valid", false: "unsigned"}[verified]}
}

func (s *Server) getCommit(c *call) (int, any, error) {
	made, err := c.show(c.PathValue("sha"))
	if err != nil {
		return 0, nil, refuse(http.StatusNotFound, "Not Found")
	}
	made["verification"] = verification(strings.HasSuffix(made["author"].(map[string]string)["name"], "[bot]"))
	return http.StatusOK, made, nil
}

func (c *call) show(sha string) (map[string]any, error) {
	out, err := c.repo.Run(c.Context(), "show", "-s", "--format=%H%x00%T%x00%P%x00%an%x00%B", "--end-of-options", sha)
	if err != nil {
		return nil, err
	}
	f := strings.SplitN(out, "\x00", 5)
	parents := []object{}
	for p := range strings.FieldsSeq(f[2]) {
		parents = append(parents, object{p})
	}
	return map[string]any{"sha": f[0], "tree": object{f[1]}, "parents": parents, "author": map[string]string{"name": f[3]}, "message": f[4]}, nil
}

func (s *Server) createRef(c *call) (int, any, error) {
	var in struct{ Ref, SHA string }
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if _, err := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", in.Ref); err == nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Reference already exists")
	}
	if _, err := c.repo.Run(c.Context(), "update-ref", in.Ref, in.SHA, strings.Repeat("0", len(in.SHA))); err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Reference update failed")
	}
	return http.StatusCreated, refJSON(in.Ref, in.SHA), nil
}

func (s *Server) updateRef(c *call) (int, any, error) {
	var in struct {
		SHA   string
		Force bool
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	branch := c.PathValue("ref")
	if said, ok := s.config.Protected[branch]; ok {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "%s", said)
	}
	return s.move(c, branch, in.SHA, in.Force)
}

// move moves a branch, a fast-forward unless forced.
func (s *Server) move(c *call, branch, sha string, force bool) (int, any, error) {
	ref := "refs/heads/" + branch
	tip, err := c.repo.Run(c.Context(), "rev-parse", "--verify", "--quiet", ref)
	if err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	ahead, err := c.repo.IsAncestor(c.Context(), tip, sha)
	if err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if !ahead && !force {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if _, err := c.repo.Run(c.Context(), "update-ref", ref, sha, tip); err != nil {
		return 0, nil, refuse(http.StatusConflict, "Reference update failed")
	}
	return http.StatusOK, refJSON(ref, sha), nil
}
