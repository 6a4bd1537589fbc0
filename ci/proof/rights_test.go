package proof

import (
	"strings"
	"testing"

	authzv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestExactly(t *testing.T) {
	t.Parallel()
	role := &rbacv1.Role{Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods", "services"}},
		{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}},
	}}
	everybody := authzv1.ResourceRule{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}}
	self := authzv1.ResourceRule{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"selfsubjectreviews"}}
	pods := authzv1.ResourceRule{Verbs: []string{"list", "get"}, APIGroups: []string{""}, Resources: []string{"services", "pods"}}
	deployments := authzv1.ResourceRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}}
	cases := map[string]struct {
		given []authzv1.ResourceRule
		role  *rbacv1.Role
		want  []string
	}{
		"no Role":            {given: []authzv1.ResourceRule{everybody, self}},
		"of Kubernetes 1.37": {given: []authzv1.ResourceRule{everybody, self, {Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"clustertrustbundles"}}}},
		"the Role":           {given: []authzv1.ResourceRule{everybody, self, pods, deployments}, role: role},
		"a Role without use": {given: []authzv1.ResourceRule{everybody, self, pods}, role: role, want: []string{"it may not get deployments.apps"}},
		"more than the Role": {
			given: []authzv1.ResourceRule{everybody, self, pods, deployments, {Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"key"}}},
			role:  role, want: []string{"it may get secrets key as well"},
		},
		"everything": {
			given: []authzv1.ResourceRule{everybody, self, {Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
			want:  []string{"it may * *.* as well"},
		},
		"another": {given: []authzv1.ResourceRule{everybody, self, deployments}, want: []string{"it may get deployments.apps as well"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := text(exactly(granted(c.given), named(c.role)))
			if got != strings.Join(c.want, "\n") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
