package githubtest

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// comment adds a comment.
func (s *Server) comment(p *Pull, login, body string) *Comment {
	s.said++
	p.Comments = append(p.Comments, Comment{ID: s.said, Login: login, Body: body})
	return &p.Comments[len(p.Comments)-1]
}

func (c *call) commentJSON(p *Pull, said *Comment) map[string]any {
	return map[string]any{
		"id": said.ID, "body": said.Body, "user": userJSON(said.Login),
		"html_url": fmt.Sprintf("http://%s/%s/pull/%d#issuecomment-%d", c.Host, c.name, p.Number, said.ID),
	}
}

func userJSON(login string) map[string]string {
	return map[string]string{"login": login, "type": map[bool]string{true: "Bot", false: "User"}[strings.HasSuffix(login, "[bot]")]}
}

// user says whom a token belongs to; not those of workflows and Apps.
func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	switch token, ok := s.token(bearer(r)); {
	case !ok:
		fail(w, http.StatusUnauthorized, "Bad credentials")
	case token.Bot:
		fail(w, http.StatusForbidden, "Resource not accessible by integration")
	default:
		answer(w, http.StatusOK, userJSON(cmp.Or(token.Login, "somebody")))
	}
}

func (s *Server) listComments(c *call) (int, any, error) {
	p, err := s.pull(c)
	if err != nil {
		return 0, nil, err
	}
	q := c.URL.Query()
	size, _ := strconv.Atoi(q.Get("per_page"))
	page, _ := strconv.Atoi(q.Get("page"))
	size, page = min(max(size, 30), 100), max(page, 1)
	found := []any{}
	for i := (page - 1) * size; i < min(page*size, len(p.Comments)); i++ {
		found = append(found, c.commentJSON(p, &p.Comments[i]))
	}
	if page*size < len(p.Comments) {
		q.Set("page", strconv.Itoa(page+1))
		c.header.Set("Link", fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, c.Host, c.URL.Path, q.Encode()))
	}
	return http.StatusOK, found, nil
}

func (s *Server) addComment(c *call) (int, any, error) {
	p, err := s.pull(c)
	if err != nil {
		return 0, nil, err
	}
	body, err := c.body()
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, c.commentJSON(p, s.comment(p, c.login(), body)), nil
}

func (s *Server) editComment(c *call) (int, any, error) {
	body, err := c.body()
	if err != nil {
		return 0, nil, err
	}
	for _, p := range s.pulls[c.name] {
		for i := range p.Comments {
			if strconv.FormatInt(p.Comments[i].ID, 10) == c.PathValue("id") {
				p.Comments[i].Body = body
				return http.StatusOK, c.commentJSON(p, &p.Comments[i]), nil
			}
		}
	}
	return 0, nil, refuse(http.StatusNotFound, "Not Found")
}

// body reads a comment's text.
func (c *call) body() (string, error) {
	var in struct{ Body string }
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.Body == "" {
		return "", refuse(http.StatusUnprocessableEntity, "Validation Failed: body cannot be blank")
	}
	return in.Body, nil
}
