package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authzv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

// right is one thing that may be done.
type right struct{ verb, group, resource, name string }

func (r right) String() string {
	resource := r.resource
	if r.group != "" {
		resource += "." + r.group
	}
	if r.name != "" {
		resource += " " + r.name
	}
	return r.verb + " " + resource
}

type rights map[right]bool

// add adds every right that a rule gives.
func (all rights) add(verbs, groups, resources, names []string) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, v := range verbs {
		for _, g := range groups {
			for _, r := range resources {
				for _, n := range names {
					all[right{v, g, r, n}] = true
				}
			}
		}
	}
}

// everybodys are the rights that Kubernetes gives to whoever has signed in, to ask what they may do and who they are, and
// to every service account, to read whom the cluster trusts. Not each version gives all of them.
func everybodys() rights {
	all := rights{
		{"create", "authorization.k8s.io", "selfsubjectaccessreviews", ""}: true,
		{"create", "authorization.k8s.io", "selfsubjectrulesreviews", ""}:  true,
		{"create", "authentication.k8s.io", "selfsubjectreviews", ""}:      true,
	}
	all.add([]string{"get", "list", "watch"}, []string{"certificates.k8s.io"}, []string{"clustertrustbundles"}, nil)
	return all
}

func granted(rules []authzv1.ResourceRule) rights {
	all := rights{}
	for _, r := range rules {
		all.add(r.Verbs, r.APIGroups, r.Resources, r.ResourceNames)
	}
	return all
}

// named are the rights in a Role, none where there is no Role.
func named(role *rbacv1.Role) rights {
	all := rights{}
	if role != nil {
		for _, r := range role.Rules {
			all.add(r.Verbs, r.APIGroups, r.Resources, r.ResourceNames)
		}
	}
	return all
}

// exactly says in which rights what is given differs from what is wanted. Those that everybody has make no difference.
func exactly(given, want rights) error {
	var errs []error
	if more := given.without(want, everybodys()); more != "" {
		errs = append(errs, fmt.Errorf("it may %s as well", more))
	}
	if less := want.without(given); less != "" {
		errs = append(errs, fmt.Errorf("it may not %s", less))
	}
	return errors.Join(errs...)
}

// without lists the rights that none of others has.
func (all rights) without(others ...rights) string {
	var names []string
	for r := range all {
		if !slices.ContainsFunc(others, func(o rights) bool { return o[r] }) {
			names = append(names, r.String())
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// others are namespaces in which the portal has no business.
var others = []string{"default", "kube-system", "argocd"}

// account compares all that a service account may do with its Role. It gives the cluster as that account sees it, and how
// many rights the Role has.
func (s *Session) account(ctx context.Context, name string) (*kube.Client, int, error) {
	account, err := s.Client.As(ctx, namespace, name)
	if err != nil {
		return nil, 0, err
	}
	role, err := s.role(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, ns := range append([]string{namespace}, others...) {
		rules, err := account.Rules(ctx, ns)
		if err != nil {
			return nil, 0, err
		}
		var want rights
		if ns == namespace {
			want = named(role)
		}
		if err := exactly(granted(rules), want); err != nil {
			return nil, 0, fmt.Errorf("the service account %s in %s: %w", name, ns, err)
		}
	}
	return account, len(named(role)), s.refusedRights(ctx, account)
}

// role is that of the release, nil where it has none.
func (s *Session) role(ctx context.Context) (*rbacv1.Role, error) {
	obj, err := s.get(ctx, "rbac.authorization.k8s.io/v1", "Role", application)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	roles := kube.As[rbacv1.Role]([]*unstructured.Unstructured{obj})
	if len(roles) == 0 {
		return nil, fmt.Errorf("%s is no Role of Kubernetes'", kube.Name(obj))
	}
	return &roles[0], nil
}

// refusedRights asks for what the portal has no business with, in either case.
func (s *Session) refusedRights(ctx context.Context, account *kube.Client) error {
	var errs []error
	for _, a := range beyond {
		allowed, err := account.Can(ctx, a)
		switch {
		case err != nil:
			return err
		case allowed:
			errs = append(errs, fmt.Errorf("the service account may %s %s in %q", a.Verb, a.Resource, a.Namespace))
		}
	}
	return errors.Join(errs...)
}

// rights sees that the portal's service account may do what its Role names, and no more. The commit before has given it
// the Role. It is taken away again if faults or features follow, which begin with the release.
func (s *Session) rights(ctx context.Context) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	account, count, err := s.account(ctx, pod.Spec.ServiceAccountName)
	if err != nil {
		return "", err
	}
	if count == 0 {
		return "", errors.New("the release has no Role")
	}
	if _, err := account.Core.Pods(namespace).List(ctx, metav1.ListOptions{}); err != nil {
		return "", fmt.Errorf("list pods, as the Role allows: %w", err)
	}
	if len(s.Faults)+len(s.Features) > 0 {
		if err := s.takeBack(ctx); err != nil {
			return "", err
		}
		if err := s.gone(ctx, pod.Name); err != nil {
			return "", err
		}
		// Its memory is new, and so are its sessions.
		if err := until(ctx, arrives, s.signIn); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d rights, each of them in the Role; the pods of %s were listed with them; %d others asked for and refused", count, namespace, len(beyond)), nil
}
