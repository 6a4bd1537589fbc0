package cluster

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestFenceScript(t *testing.T) {
	t.Parallel()
	script := fenceScript([]string{"10.87.0.0/16"}, []string{"10.96.0.0/16"})
	lines := strings.Split(script, "\n")
	position := func(part string) int {
		i := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, part) })
		if i < 0 {
			t.Fatalf("no line has %q:\n%s", part, script)
		}
		return i
	}
	refuse := position("iptables -w -A " + fence + " -j REJECT")
	if own := position("-d 10.96.0.0/16"); own < position("-o docker0 -j RETURN") {
		t.Error("what a node sends to a pod of another is refused")
	}
	for _, before := range []string{"ESTABLISHED", "-o br-+ -j RETURN", "-o docker0 -j RETURN", "-d 10.96.0.0/16 -j REJECT --reject-with " + uncounted, "-d 10.87.0.0/16 -p tcp ! --dport 53", "-d 10.87.0.0/16 -p udp ! --dport 53", "--name " + fence} {
		if position(before) > refuse {
			t.Errorf("the rule with %q comes too late", before)
		}
	}
	// Nothing may go through the chain before it is whole.
	for _, after := range []string{"iptables FORWARD -j", "iptables DOCKER-USER -j"} {
		if position(after) < refuse {
			t.Errorf("%s sends packets to a chain that refuses nothing yet", after)
		}
	}
	// The last one that is put first is the first.
	if position("|04|host|06|docker") < position("|00001c0001|") {
		t.Error("the question for the daemon's host is counted before it is let off")
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-nc", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const listing = `Chain GITOPS-FENCE (2 references)
    pkts      bytes target     prot opt in     out     source               destination
       5      300 REJECT     all  --  *      *       0.0.0.0/0            10.96.0.0/16         reject-with icmp-net-unreachable
     512    40000 RETURN     all  --  *      *       0.0.0.0/0            0.0.0.0/0            ctstate RELATED,ESTABLISHED
       7      420            all  --  *      *       0.0.0.0/0            0.0.0.0/0            recent: SET name: GITOPS-FENCE side: dest mask: 255.255.255.255
       7      420 REJECT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            reject-with icmp-port-unreachable
Chain GITOPS-QUESTIONS (4 references)
    pkts      bytes target     prot opt in     out     source               destination
       2      120 REJECT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            reject-with icmp-port-unreachable
Chain GITOPS-FENCE (1 references)
    pkts      bytes target     prot opt in     out     source               destination
       1       60 REJECT     all  --  *      *       ::/0                 ::/0                 reject-with icmp6-port-unreachable
src=192.0.2.1 ttl: 64 last_seen: 4295 oldest_pkt: 1 4295
`
	got, err := refused(listing)
	if want := []string{"192.0.2.1", "a name server"}; err != nil || got.Packets != 10 || got.Questions != 2 || !slices.Equal(got.Addresses, want) {
		t.Errorf("%+v, %v; want 10 to %q", got, err, want)
	}
	for what, without := range map[string]string{
		"a chain that refuses nothing": strings.ReplaceAll(listing, "REJECT", "RETURN"),
		"no chain for questions":       listing[:strings.Index(listing, "Chain "+questions)],
		"nothing":                      "",
	} {
		if _, err := refused(without); !errors.Is(err, ErrNoFence) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDaemon(t *testing.T) {
	for host, want := range map[string]string{"tcp://docker:2375": "docker:2375", "unix:///var/run/docker.sock": "", "": ""} {
		t.Setenv("DOCKER_HOST", host)
		if got := Daemon(); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestListed(t *testing.T) {
	t.Parallel()
	const list = "src=192.0.2.1 ttl: 64 last_seen: 4295 oldest_pkt: 1 4295\nsrc=198.51.100.7 ttl: 64 last_seen: 4296 oldest_pkt: 1 4296\n"
	if got := listed(list); !slices.Equal(got, []string{"192.0.2.1", "198.51.100.7"}) {
		t.Error(got)
	}
}
