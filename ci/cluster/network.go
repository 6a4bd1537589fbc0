package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"
)

// ErrNoFence says that a cluster was made without a fence.
var ErrNoFence = errors.New("the cluster has no fence")

// The chains of the Docker daemon's packet filter that refuse, and count. The addresses asked for are kept by the kernel's
// list with the name of the first one, where it has such lists.
const (
	// fence is for what nodes and pods send out of the daemon's networks.
	fence = "GITOPS-FENCE"
	// questions is for what the daemon itself asks a name server, which it does for the nodes.
	questions = "GITOPS-QUESTIONS"
)

// raise refuses, and counts, what nodes and pods send out of the daemon's networks to other places than the networks that
// this program is in. The daemon's host forwards every such packet, so the fence stands there: it can be raised before
// there is a node, no pod can touch it, and it outlives a restart of the nodes. The cluster's own networks, of pods and
// Services, are refused there and not counted: they are known within a node. Names are no business of the cluster's
// either: what asks a name server outside is refused too.
func raise(ctx context.Context, image string, own ...string) error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	var session []string
	for _, a := range addresses {
		if _, network, err := net.ParseCIDR(a.String()); err == nil && !network.IP.IsLoopback() {
			session = append(session, network.String())
		}
	}
	_, err = inDaemonsNetwork(ctx, image, fenceScript(ipv4(session), ipv4(own)))
	return err
}

// inDaemonsNetwork runs a script in the Docker daemon's own network.
func inDaemonsNetwork(ctx context.Context, image, script string) (string, error) {
	out, err := exec.Output(exec.CommandContext(ctx, "docker", "run", "--rm", "--privileged", "--network", "host", "--entrypoint", "sh", image, "-euc", script))
	if err != nil {
		return "", fmt.Errorf("packet filter of the Docker daemon: %w", explain(err))
	}
	return string(out), nil
}

// ipv4 are the ranges of that family: kind's clusters speak no other unless told.
func ipv4(ranges []string) []string {
	return slices.DeleteFunc(ranges, func(s string) bool { return strings.Contains(s, ":") })
}

// uncounted is how a rule refuses what does not count.
const uncounted = "icmp-net-unreachable"

// dockerHost is host.docker.internal as a question has it (RFC 1035, 3.1).
const dockerHost = "|04|host|06|docker|08|internal|00|"

// fenceScript makes the chains, then sends packets there. A cluster that the daemon had before may have left them.
func fenceScript(session, own []string) string {
	var script strings.Builder
	add := func(rule string, a ...any) { fmt.Fprintf(&script, rule+"\n", a...) }
	add("chain() { $1 -w -N $2 2> /dev/null || $1 -w -F $2; }")
	add(`jump() { filter=$1; shift; "$filter" -w -C "$@" 2> /dev/null || "$filter" -w -I "$@"; }`)

	add("chain iptables " + fence)
	add("iptables -w -A " + fence + " -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN")
	// Into the daemon's own networks: from a node to another, or from outside to a port that a node publishes.
	for _, bridge := range []string{"br-+", "docker0"} {
		add("iptables -w -A %s -o %s -j RETURN", fence, bridge)
	}
	// Until kube-proxy runs, connections to a Service leave the node.
	for _, network := range own {
		add("iptables -w -A %s -d %s -j REJECT --reject-with %s", fence, network, uncounted)
	}
	for _, network := range session {
		for _, protocol := range []string{"tcp", "udp"} {
			add("iptables -w -A %s -d %s -p %s ! --dport 53 -j RETURN", fence, network, protocol)
		}
	}
	// Not every kernel has these lists.
	add("iptables -w -A %s -m recent --name %s --rdest --set 2> /dev/null || :", fence, fence)
	add("iptables -w -A " + fence + " -j REJECT")

	// Questions of type A and AAAA end in these bytes (RFC 1035, 4.1.2); CoreDNS asks for something else when it starts,
	// to find a loop.
	add("chain iptables " + questions)
	add("iptables -w -A " + questions + " -j REJECT")
	for _, question := range []string{"|0000010001|", "|00001c0001|"} {
		for _, protocol := range []string{"udp", "tcp"} {
			add("jump iptables OUTPUT -p %s --dport 53 -m string --algo bm --hex-string '%s' -j %s", protocol, question, questions)
		}
	}
	// Each node asks for the daemon's host when it starts: kind's own entrypoint does, and does without an answer. It comes
	// before the others, and does not count.
	for _, protocol := range []string{"udp", "tcp"} {
		add("jump iptables OUTPUT -p %s --dport 53 -m string --algo bm --hex-string '%s' -j REJECT", protocol, dockerHost)
	}

	// Docker puts its own rules before others, but for those of its chain DOCKER-USER.
	add("jump iptables FORWARD -j " + fence)
	add("if iptables -w -nL DOCKER-USER > /dev/null 2>&1; then jump iptables DOCKER-USER -j " + fence + "; fi")

	// Nothing of the session speaks IPv6.
	add("if ip6tables -w -nL FORWARD > /dev/null 2>&1; then")
	add("chain ip6tables " + fence)
	for _, bridge := range []string{"br-+", "docker0"} {
		add("ip6tables -w -A %s -o %s -j RETURN", fence, bridge)
	}
	add("ip6tables -w -A " + fence + " -j REJECT")
	add("jump ip6tables FORWARD -j " + fence)
	add("if ip6tables -w -nL DOCKER-USER > /dev/null 2>&1; then jump ip6tables DOCKER-USER -j " + fence + "; fi")
	add("fi")
	return script.String()
}

// The parts of what counters prints.
const (
	counters = "iptables -w -nvxL " + fence + "\niptables -w -nvxL " + questions +
		"\nip6tables -w -nvxL " + fence + " 2> /dev/null || :\ncat /proc/net/xt_recent/" + fence + " 2> /dev/null || :"
	forget = "iptables -w -Z " + fence + "\niptables -w -Z " + questions +
		"\nip6tables -w -Z " + fence + " 2> /dev/null || :\nlist=/proc/net/xt_recent/" + fence + "\nif [ -e $list ]; then echo / > $list; fi"
)

// Outside is what a cluster tried to reach beyond its fence.
type Outside struct {
	// Packets were refused, Questions of them to a name server. Addresses are where they were going to, where the kernel
	// keeps such lists.
	Packets   int      `json:"packets"`
	Questions int      `json:"questions"`
	Addresses []string `json:"addresses"`
}

// Fenced reads what a cluster's nodes and pods tried to reach outside since the fence was raised, which is before there
// was a node, or since Forget.
func Fenced(ctx context.Context, name string) (Outside, error) {
	listing, err := onFence(ctx, name, counters)
	if err != nil {
		return Outside{}, err
	}
	return refused(listing)
}

// Forget sets the count of Fenced back to nothing.
func Forget(ctx context.Context, name string) error {
	_, err := onFence(ctx, name, forget)
	return err
}

// onFence runs a script where the fence of a cluster stands.
func onFence(ctx context.Context, name, script string) (string, error) {
	_, all, err := find(ctx, name)
	if err != nil {
		return "", err
	}
	image, err := imageOf(ctx, all[0])
	if err != nil {
		return "", err
	}
	out, err := inDaemonsNetwork(ctx, image, script)
	if err != nil && strings.Contains(err.Error(), "No chain/target/match by that name") {
		return "", fmt.Errorf("%w: %w", ErrNoFence, err)
	}
	return out, err
}

// imageOf is the image that a node was made of.
func imageOf(ctx context.Context, n nodes.Node) (string, error) {
	image, err := exec.Output(exec.CommandContext(ctx, "docker", "inspect", "--format", "{{.Config.Image}}", n.String()))
	if err != nil {
		return "", explain(err)
	}
	return strings.TrimSpace(string(image)), nil
}

// refused reads what counters printed.
func refused(listing string) (Outside, error) {
	o := Outside{Addresses: []string{}}
	chain, refuses := "", map[string]bool{}
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "Chain":
			chain = fields[1]
		case len(fields) > 2 && fields[2] == "REJECT" && !strings.Contains(line, uncounted):
			packets, err := strconv.Atoi(fields[0])
			if err != nil {
				return Outside{}, fmt.Errorf("the counter of the chain %s: %w", chain, err)
			}
			o.Packets, refuses[chain] = o.Packets+packets, true
			if chain == questions && packets > 0 {
				o.Questions += packets
				o.Addresses = append(o.Addresses, "a name server")
			}
		}
	}
	for _, c := range []string{fence, questions} {
		if !refuses[c] {
			return Outside{}, fmt.Errorf("%w: its chain %s refuses nothing", ErrNoFence, c)
		}
	}
	o.Addresses = append(o.Addresses, listed(listing)...)
	slices.Sort(o.Addresses)
	o.Addresses = slices.Compact(o.Addresses)
	return o, nil
}

var source = regexp.MustCompile(`(?m)^src=(\S+)`)

// listed reads a list of the kernel's match "recent", which calls every address a source.
func listed(list string) []string {
	var addresses []string
	for _, m := range source.FindAllStringSubmatch(list, -1) {
		addresses = append(addresses, m[1])
	}
	return addresses
}

// NodeNames are the names of a cluster's nodes.
func NodeNames(ctx context.Context, name string) ([]string, error) {
	_, all, err := find(ctx, name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		names = append(names, n.String())
	}
	slices.Sort(names)
	return names, nil
}

// Reach tries to reach an address, HOST:PORT, from a node. A name is looked up there.
func Reach(ctx context.Context, name, node, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, err = OnNode(ctx, name, node, "timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port)
	return err
}

// Daemon is where the Docker daemon of the nodes takes commands, HOST:PORT, empty where that is no port.
func Daemon() string {
	address, tcp := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "tcp://")
	if _, _, err := net.SplitHostPort(address); !tcp || err != nil {
		return ""
	}
	return address
}

// Cut has every node of a cluster refuse connections to an address, IP:PORT, its pods' too, open ones included: to them
// what listens there is gone. Heal undoes it.
func Cut(ctx context.Context, name, address string) (heal func(context.Context) error, err error) {
	ip, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	_, all, err := find(ctx, name)
	if err != nil {
		return nil, err
	}
	rules := func(ctx context.Context, action string) error {
		var errs []error
		for _, n := range all {
			for _, chain := range []string{"OUTPUT", "FORWARD"} {
				errs = append(errs, filter(ctx, n, action, chain, "-p", "tcp", "-d", ip, "--dport", port, "-j", "REJECT", "--reject-with", "tcp-reset"))
			}
		}
		return errors.Join(errs...)
	}
	heal = func(ctx context.Context) error { return rules(ctx, "-D") }
	if err := rules(ctx, "-I"); err != nil {
		return nil, errors.Join(err, heal(context.WithoutCancel(ctx)))
	}
	return heal, nil
}

func filter(ctx context.Context, n nodes.Node, args ...string) error {
	if err := n.CommandContext(ctx, "iptables", append([]string{"-w"}, args...)...).Run(); err != nil {
		return fmt.Errorf("packet filter of node %s: %w", n, explain(err))
	}
	return nil
}

// OnNode runs a program on a node of a cluster, and gives what it prints.
func OnNode(ctx context.Context, name, node string, command ...string) (string, error) {
	_, all, err := find(ctx, name)
	if err != nil {
		return "", err
	}
	for _, n := range all {
		if n.String() != node {
			continue
		}
		printed, err := exec.Output(n.CommandContext(ctx, command[0], command[1:]...))
		if err != nil {
			return "", fmt.Errorf("%s on node %s: %w", command[0], node, explain(err))
		}
		return string(printed), nil
	}
	return "", fmt.Errorf("the cluster %s has no node %s", name, node)
}

// Restart stops a cluster's nodes and starts them again, as a host that reboots does.
func Restart(ctx context.Context, name string) error {
	_, all, err := find(ctx, name)
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := run(ctx, "docker", "restart", n.String()); err != nil {
			return fmt.Errorf("restart node %s: %w", n, err)
		}
	}
	return nil
}
