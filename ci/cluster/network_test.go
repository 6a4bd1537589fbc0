package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestFenceRules(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, r := range fenceRules([]string{"10.244.0.0/16"}, []string{"10.87.0.0/16"}) {
		lines = append(lines, strings.Join(r, " "))
	}
	position := func(part string) int {
		i := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, part) })
		if i < 0 {
			t.Fatalf("no rule has %q:\n%s", part, strings.Join(lines, "\n"))
		}
		return i
	}
	refuse := position("-j REJECT")
	for _, before := range []string{"ESTABLISHED", "-d 10.244.0.0/16 -j RETURN", "-d 10.87.0.0/16 -p tcp ! --dport 53", "-d 10.87.0.0/16 -p udp ! --dport 53", "--name " + fence} {
		if position(before) > refuse {
			t.Errorf("the rule with %q comes too late", before)
		}
	}
	// Nothing may go through the chain before it is whole.
	for _, after := range []string{"-I OUTPUT", "-I FORWARD"} {
		if position(after) < refuse {
			t.Errorf("%s sends packets to a chain that refuses nothing yet", after)
		}
	}
}

func TestRefusedPackets(t *testing.T) {
	t.Parallel()
	const listing = `Chain GITOPS-FENCE (2 references)
    pkts      bytes target     prot opt in     out     source               destination
     512    40000 RETURN     all  --  *      *       0.0.0.0/0            0.0.0.0/0            ctstate RELATED,ESTABLISHED
       7      420            all  --  *      *       0.0.0.0/0            0.0.0.0/0            recent: SET name: GITOPS-FENCE side: dest mask: 255.255.255.255
       7      420 REJECT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            reject-with icmp-port-unreachable
`
	got, err := refusedPackets(listing)
	if err != nil || got != 7 {
		t.Errorf("%d, %v; want 7", got, err)
	}
	if _, err := refusedPackets(strings.ReplaceAll(listing, "REJECT", "RETURN")); !errors.Is(err, ErrNoFence) {
		t.Errorf("a chain that refuses nothing: %v", err)
	}
}

func TestListed(t *testing.T) {
	t.Parallel()
	const list = "src=192.0.2.1 ttl: 64 last_seen: 4295 oldest_pkt: 1 4295\nsrc=198.51.100.7 ttl: 64 last_seen: 4296 oldest_pkt: 1 4296\n"
	if got := listed(list); !slices.Equal(got, []string{"192.0.2.1", "198.51.100.7"}) {
		t.Error(got)
	}
}
