package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"
)

// ErrNoFence says that a cluster was made without a fence.
var ErrNoFence = errors.New("the cluster has no fence")

// fence is the chain of each node's packet filter that connections to elsewhere end in. The addresses asked for are
// kept by the kernel's list of the same name, where it has such lists.
const fence = "GITOPS-FENCE"

// raise refuses what nodes and pods send to other places than the cluster's own networks and those that this program
// is in, and counts it. Names are no business of the cluster's either: what asks a name server outside is refused too,
// also in the daemon's own network, as it asks for the nodes.
func raise(ctx context.Context, all []nodes.Node, image, pods, services string) error {
	// Multicast never leaves the node's network.
	own := []string{"127.0.0.0/8", "224.0.0.0/4", pods, services}
	networks, err := exec.Output(exec.CommandContext(ctx, "docker", "network", "inspect", "kind", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}"))
	if err != nil {
		return explain(err)
	}
	own = append(own, ipv4(strings.Fields(string(networks)))...)
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
	var script strings.Builder
	for _, rule := range fenceRules(own, ipv4(session)) {
		script.WriteString("iptables -w " + strings.Join(rule, " "))
		if slices.Contains(rule, "recent") {
			script.WriteString(" || :") // not every kernel has these lists
		}
		script.WriteByte('\n')
	}
	for _, n := range all {
		if err := n.CommandContext(ctx, "sh", "-euc", script.String()).Run(); err != nil {
			return fmt.Errorf("packet filter of node %s: %w", n, explain(err))
		}
	}
	_, err = inDaemonsNetwork(ctx, image, nameRules)
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

// nameRules is the script that refuses, and counts, what asks a name server for an address. Questions of type A and AAAA
// end in these bytes (RFC 1035, 4.1.2); CoreDNS asks for something else when it starts, to find a loop. A cluster that
// the daemon had before may have left the rules.
const nameRules = `iptables -w -N ` + fence + ` 2> /dev/null || iptables -w -F ` + fence + `
iptables -w -A ` + fence + ` -j REJECT
for question in '|0000010001|' '|00001c0001|'; do
  for protocol in udp tcp; do
    set -- OUTPUT -p $protocol --dport 53 -m string --algo bm --hex-string "$question" -j ` + fence + `
    iptables -w -C "$@" 2> /dev/null || iptables -w -I "$@"
  done
done`

// ipv4 are the ranges of that family: kind's clusters speak no other unless told.
func ipv4(ranges []string) []string {
	return slices.DeleteFunc(ranges, func(s string) bool { return strings.Contains(s, ":") })
}

// fenceRules are the arguments of iptables, in order. Own are the cluster's networks, session those around it.
func fenceRules(own, session []string) [][]string {
	add := func(rule ...string) []string { return append([]string{"-A", fence}, rule...) }
	rules := [][]string{
		{"-N", fence},
		add("-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"),
	}
	for _, r := range own {
		rules = append(rules, add("-d", r, "-j", "RETURN"))
	}
	for _, r := range session {
		rules = append(rules,
			add("-d", r, "-p", "tcp", "!", "--dport", "53", "-j", "RETURN"),
			add("-d", r, "-p", "udp", "!", "--dport", "53", "-j", "RETURN"))
	}
	return append(rules,
		add("-m", "recent", "--name", fence, "--rdest", "--set"),
		add("-j", "REJECT"),
		[]string{"-I", "OUTPUT", "-j", fence},
		[]string{"-I", "FORWARD", "-j", fence})
}

// Outside is what a cluster tried to reach beyond its fence.
type Outside struct {
	// Packets were refused. Addresses are where they were going to, where the kernel keeps such lists.
	Packets   int      `json:"packets"`
	Addresses []string `json:"addresses"`
}

// Fenced reads what a cluster's nodes and pods tried to reach outside since the fence was raised, which is when the nodes
// had started, or since Forget or a restart of the nodes.
func Fenced(ctx context.Context, name string) (Outside, error) {
	_, all, err := find(ctx, name)
	if err != nil {
		return Outside{}, err
	}
	o := Outside{Addresses: []string{}}
	image, err := imageOf(ctx, all[0])
	if err != nil {
		return Outside{}, err
	}
	counters, err := inDaemonsNetwork(ctx, image, "iptables -w -nvxL "+fence)
	if err != nil {
		return Outside{}, unfenced(err)
	}
	if o.Packets, err = refusedPackets(counters); err != nil {
		return Outside{}, err
	}
	if o.Packets > 0 {
		o.Addresses = append(o.Addresses, "a name server")
	}
	for _, n := range all {
		counters, err := exec.Output(n.CommandContext(ctx, "iptables", "-w", "-nvxL", fence))
		if err != nil {
			return Outside{}, unfenced(fmt.Errorf("node %s: %w", n, explain(err)))
		}
		packets, err := refusedPackets(string(counters))
		if err != nil {
			return Outside{}, fmt.Errorf("node %s: %w", n, err)
		}
		o.Packets += packets
		// Not every kernel has these lists.
		if list, err := exec.Output(n.CommandContext(ctx, "cat", "/proc/net/xt_recent/"+fence)); err == nil {
			o.Addresses = append(o.Addresses, listed(string(list))...)
		}
	}
	slices.Sort(o.Addresses)
	o.Addresses = slices.Compact(o.Addresses)
	return o, nil
}

// unfenced says that there is no fence, where that is why its chain could not be listed.
func unfenced(err error) error {
	if strings.Contains(err.Error(), "No chain/target/match by that name") {
		return fmt.Errorf("%w: %w", ErrNoFence, err)
	}
	return err
}

// Forget sets the count of Fenced back to nothing.
func Forget(ctx context.Context, name string) error {
	_, all, err := find(ctx, name)
	if err != nil {
		return err
	}
	image, err := imageOf(ctx, all[0])
	if err != nil {
		return err
	}
	if _, err := inDaemonsNetwork(ctx, image, "iptables -w -Z "+fence); err != nil {
		return err
	}
	for _, n := range all {
		if err := n.CommandContext(ctx, "sh", "-euc", "iptables -w -Z "+fence+"; list=/proc/net/xt_recent/"+fence+"; if [ -e $list ]; then echo / > $list; fi").Run(); err != nil {
			return fmt.Errorf("packet filter of node %s: %w", n, explain(err))
		}
	}
	return nil
}

// imageOf is the image that a node was made of.
func imageOf(ctx context.Context, n nodes.Node) (string, error) {
	image, err := exec.Output(exec.CommandContext(ctx, "docker", "inspect", "--format", "{{.Config.Image}}", n.String()))
	if err != nil {
		return "", explain(err)
	}
	return strings.TrimSpace(string(image)), nil
}

// refusedPackets reads the counter of the last rule.
func refusedPackets(listing string) (int, error) {
	for line := range strings.Lines(listing) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "REJECT" {
			return strconv.Atoi(fields[0])
		}
	}
	return 0, fmt.Errorf("%w: its chain %s refuses nothing", ErrNoFence, fence)
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

// Reach tries to reach an address, HOST:PORT, from a node. A name is looked up there.
func Reach(ctx context.Context, name, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, all, err := find(ctx, name)
	if err != nil {
		return err
	}
	return all[0].CommandContext(ctx, "timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port).Run()
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

// OnNode runs a program on a node of a cluster.
func OnNode(ctx context.Context, name, node string, command ...string) error {
	_, all, err := find(ctx, name)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.String() != node {
			continue
		}
		if err := n.CommandContext(ctx, command[0], command[1:]...).Run(); err != nil {
			return fmt.Errorf("%s on node %s: %w", command[0], node, explain(err))
		}
		return nil
	}
	return fmt.Errorf("the cluster %s has no node %s", name, node)
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
