package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
)

// elsewhere are addresses outside any session: one of a range and one of a domain that are for documentation, RFC 5737
// and RFC 2606.
var elsewhere = []string{"192.0.2.1:443", "registry.example:443"}

// nowhere is an image that no registry has.
const nowhere = "registry.example/backstage-gitops/no-such-image:proof"

// place is a node or a pod from which connections are tried.
type place struct {
	name string
	// reach fails where an address, HOST:PORT, is not reached.
	reach func(context.Context, string) error
}

// hermetic reads what nodes and pods tried to reach outside the session, and sees that such a try is noticed, from each
// node and from a pod.
func (s *Session) hermetic(ctx context.Context) (string, error) {
	if err := s.silent(ctx); err != nil {
		return "", err
	}
	nodes, err := cluster.NodeNames(ctx, s.Cluster)
	if err != nil {
		return "", err
	}
	if err := s.pullsNowhere(ctx, nodes[0]); err != nil {
		return "", err
	}
	for _, p := range s.places(nodes) {
		if err := s.fencedIn(ctx, p); err != nil {
			return "", fmt.Errorf("from %s: %w", p.name, err)
		}
	}
	// The next proof in this cluster counts from here.
	if err := cluster.Forget(ctx, s.Cluster); err != nil {
		return "", err
	}
	return fmt.Sprintf("since before the nodes started no packet of theirs or of a pod was on its way out, to no registry and no name server, nor for an image that the registry lacks; from %d nodes and a pod, tries to reach %s were noticed, and the nodes' Docker daemon refuses commands",
		len(nodes), strings.Join(elsewhere, " and ")), nil
}

// silent says that nothing was on its way out since the fence was raised or the count forgotten.
func (s *Session) silent(ctx context.Context) error {
	outside, err := cluster.Fenced(ctx, s.Cluster)
	if err != nil {
		return err
	}
	if outside.Packets > 0 {
		return fmt.Errorf("%d packets were on their way out, to %s", outside.Packets, cmp.Or(strings.Join(outside.Addresses, ", "), "addresses that this kernel does not tell"))
	}
	return nil
}

// quiet says the same of what came after, where hermetic has shown that a try is noticed.
func (s *Session) quiet(ctx context.Context) (string, error) {
	if err := s.silent(ctx); err != nil {
		return "", err
	}
	if err := cluster.Forget(ctx, s.Cluster); err != nil {
		return "", err
	}
	return "no packet of a node or a pod was on its way out", nil
}

// places are all nodes, and last the portal's pod.
func (s *Session) places(nodes []string) []place {
	var places []place
	for _, node := range nodes {
		places = append(places, place{"node " + node, func(ctx context.Context, address string) error {
			return cluster.Reach(ctx, s.Cluster, node, address)
		}})
	}
	return append(places, place{"a pod of the portal", func(ctx context.Context, address string) error {
		return s.reaches(ctx, namespace, selector, address)
	}})
}

// pullsNowhere has a node pull an image that its registry lacks, and sees it ask nobody else.
func (s *Session) pullsNowhere(ctx context.Context, node string) error {
	_, err := cluster.OnNode(ctx, s.Cluster, node, "crictl", "pull", nowhere)
	if err == nil || !strings.Contains(err.Error(), "not found") {
		return fmt.Errorf("a pull of %s was not told that the registry lacks it: %w", nowhere, cmp.Or(err, errors.New("it was pulled")))
	}
	if err := s.silent(ctx); err != nil {
		return fmt.Errorf("a pull of %s asked elsewhere: %w", nowhere, err)
	}
	return nil
}

// fencedIn sees that from a place the session is reached, that a try to reach elsewhere is refused and noticed, and that
// the daemon which runs the nodes takes no commands.
func (s *Session) fencedIn(ctx context.Context, p place) error {
	if err := p.reach(ctx, s.gitAddress); err != nil {
		return fmt.Errorf("the session's Git service: %w", err)
	}
	before, err := cluster.Fenced(ctx, s.Cluster)
	if err != nil {
		return err
	}
	for _, address := range elsewhere {
		if err := p.reach(ctx, address); err == nil {
			return fmt.Errorf("%s answers", address)
		}
		after, err := cluster.Fenced(ctx, s.Cluster)
		if err != nil {
			return err
		}
		if after.Packets == before.Packets {
			return fmt.Errorf("a try to reach %s was not noticed", address)
		}
		before = after
	}
	daemon := cluster.Daemon()
	if daemon == "" {
		return nil
	}
	if daemon, err = address(ctx, daemon); err != nil {
		return err
	}
	if err := p.reach(ctx, daemon); err == nil {
		return fmt.Errorf("the Docker daemon at %s takes commands, and it is root on its machine", daemon)
	}
	return nil
}
