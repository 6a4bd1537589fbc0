// Package cluster makes, inspects and removes kind clusters, with kind as a library. The cluster's nodes are containers
// of the Docker daemon that DOCKER_HOST names; kind talks to it through the docker command.
package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// Options are what a cluster is made of. The zero value of a field is its default.
type Options struct {
	// Name of the cluster: lower-case letters, digits and dashes.
	Name string
	// Image of the nodes, which decides the Kubernetes version: kindest/node:v1.37.2.
	Image string
	// Workers is how many nodes there are besides the control plane; 0 to MaxWorkers. With none, the control plane's
	// node takes the pods.
	Workers int
	// Mirror is the one registry that nodes pull from, HOST:PORT, over plain http, and the daemon the nodes' image: it has
	// to be among the daemon's insecure registries. Nodes get its IP address. Empty: each image's own.
	Mirror string
	// Ports are ports of the Docker daemon's host that lead to ports of the control plane's node.
	Ports []Port
	// PodSubnet is the range of the pods' addresses, as CIDR. Empty: kind's.
	PodSubnet string
	// CNI are the manifests of a pod network, in place of the node image's own. That of an image without kindnet may
	// know a single node only. Their range must be that of the pods: kind's is 10.244.0.0/16.
	CNI []*unstructured.Unstructured
	// Fence refuses, and counts, what nodes and pods send to other places than the daemon's networks and those that this
	// program is in, from before there is a node. Fenced reads the count. It is for a daemon of the session's own: that reaches no name server then.
	Fence bool
	// Wait is how long all nodes may take to be ready, 0 not to wait.
	Wait time.Duration
	// Logs is a folder for what CollectLogs finds when the cluster cannot be made, as it is removed then. Empty: none.
	Logs string
	// Server is the name under which the Docker daemon's host, and so the API server, is reached.
	Server string
}

// Port leads from a port of the Docker daemon's host to one of the control plane's node.
type Port struct {
	Host, Node int32
}

// MaxWorkers is more than a machine that runs the rest as well can take.
const MaxWorkers = 8

// Defaults of Options.
const (
	DefaultName   = "gitops"
	DefaultServer = "docker"
)

// apiPort is the API server's port on the Docker daemon's host. It is fixed: the daemon serves one session.
const apiPort = 6443

// ErrOptions says that a cluster cannot be made from its options.
var ErrOptions = errors.New("invalid cluster")

// nameRule is narrower than kind's: the name becomes a container's, a host's and a node's.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// Validate says in one sentence what is wrong.
func (o Options) Validate() error {
	if err := validName(o.Name); err != nil {
		return err
	}
	if _, err := reference.ParseNormalizedNamed(o.Image); err != nil {
		return fmt.Errorf("%w: %q is not an image; a node image is such as kindest/node:v1.37.2", ErrOptions, o.Image)
	}
	if o.Workers < 0 || o.Workers > MaxWorkers {
		return fmt.Errorf("%w: %d workers; 0 to %d are possible", ErrOptions, o.Workers, MaxWorkers)
	}
	if o.Mirror != "" {
		host, port, err := net.SplitHostPort(o.Mirror)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || !hostRule.MatchString(host) {
			return fmt.Errorf("%w: the mirror %q is not HOST:PORT", ErrOptions, o.Mirror)
		}
	}
	if o.PodSubnet != "" {
		p, err := netip.ParsePrefix(o.PodSubnet)
		if err != nil || !p.Addr().Is4() || p.Bits() > 22 {
			return fmt.Errorf("%w: the pods' range %q is not an IPv4 range of at least /22, such as 10.244.0.0/16", ErrOptions, o.PodSubnet)
		}
	}
	if o.Wait < 0 {
		return fmt.Errorf("%w: a wait of %s", ErrOptions, o.Wait)
	}
	if !hostRule.MatchString(o.Server) {
		return fmt.Errorf("%w: the server %q is not a host name", ErrOptions, o.Server)
	}
	seen := map[int32]bool{apiPort: true}
	for _, p := range o.Ports {
		if seen[p.Host] {
			return fmt.Errorf("%w: port %d is taken twice; %d is the API server's", ErrOptions, p.Host, apiPort)
		}
		seen[p.Host] = true
	}
	return nil
}

var hostRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func validName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%w: the name %q; 1 to 40 lower-case letters, digits and dashes make one", ErrOptions, name)
	}
	return nil
}

// ParsePort reads HOST:NODE, such as 8000:30800.
func ParsePort(s string) (Port, error) {
	host, node, ok := strings.Cut(s, ":")
	h, err1 := strconv.ParseUint(host, 10, 16)
	n, err2 := strconv.ParseUint(node, 10, 16)
	if !ok || err1 != nil || err2 != nil || h == 0 || n == 0 {
		return Port{}, fmt.Errorf("%w: the port %q is not HOST:NODE, such as 8000:30800", ErrOptions, s)
	}
	return Port{Host: int32(h), Node: int32(n)}, nil
}

// config is the cluster in kind's words, for a daemon with a version of control groups.
func (o Options) config(cgroups string) *v1alpha4.Cluster {
	c := &v1alpha4.Cluster{
		Name: o.Name,
		Networking: v1alpha4.Networking{
			// The daemon's host is another one: the API server must listen on more than its loopback.
			APIServerAddress: "0.0.0.0",
			APIServerPort:    apiPort,
			PodSubnet:        o.PodSubnet,
			// The node image's own, whatever it is, unless there is another.
			DisableDefaultCNI: len(o.CNI) > 0,
		},
		KubeadmConfigPatches:    []string{kubeletPatch},
		ContainerdConfigPatches: containerdPatches,
	}
	if cgroups == "1" {
		c.KubeadmConfigPatches = append(slices.Clone(c.KubeadmConfigPatches), kubeletPatchV1)
		c.ContainerdConfigPatches = append(slices.Clone(c.ContainerdConfigPatches), containerdPatchesV1...)
	}
	first := v1alpha4.Node{Role: v1alpha4.ControlPlaneRole, Image: o.Image}
	for _, p := range o.Ports {
		first.ExtraPortMappings = append(first.ExtraPortMappings, v1alpha4.PortMapping{
			HostPort: p.Host, ContainerPort: p.Node, Protocol: v1alpha4.PortMappingProtocolTCP,
		})
	}
	c.Nodes = append(c.Nodes, first)
	for range o.Workers {
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: v1alpha4.WorkerRole, Image: o.Image})
	}
	if len(o.CNI) > 0 {
		for i := range c.Nodes {
			// An image may bring a configuration, and then pods start on it before there is another. A folder of the
			// daemon's host hides it; docker makes the folder.
			c.Nodes[i].ExtraMounts = []v1alpha4.Mount{{HostPath: fmt.Sprintf("%s/%s-%d", cniHostDir, o.Name, i), ContainerPath: cniDir}}
		}
	}
	v1alpha4.SetDefaultsCluster(c)
	return c
}

// kubeletPatch lets the kubelet start on a host with control groups v1, which Kubernetes 1.35 and later refuse unless
// told. It changes nothing on v2. And it looks at ConfigMaps every few seconds instead of every minute: who waits for a
// change of one does not wait for the clock.
const kubeletPatch = `kind: KubeletConfiguration
failCgroupV1: false
syncFrequency: 5s
`

// containerdPatches are for both formats of containerd's configuration; kind leaves out the one that does not fit.
//
// restrict_oom_score_adj: a host may lack CAP_SYS_RESOURCE, and then no container with a negative OOM score starts.
// config_path: where hosts.toml is looked for, read again at each pull.
var containerdPatches = []string{`version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "` + certsDir + `"
`, `version = 3
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "` + certsDir + `"
`}

// On control groups v1 the kubelet makes its groups itself. By way of systemd it ended again and again on a host that
// has v2 mounted as well ("hybrid"): systemd makes its groups there, and the kubelet looks for them in the hierarchy
// name=systemd ("failed to initialize top level QOS containers: … has some missing paths"). On v2 kind's way, systemd,
// stays.
const kubeletPatchV1 = `kind: KubeletConfiguration
cgroupDriver: cgroupfs
`

var containerdPatchesV1 = []string{`version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
`, `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
`}

const (
	certsDir  = "/etc/containerd/certs.d"
	hostsFile = certsDir + "/_default/hosts.toml"
	cniDir    = "/etc/cni/net.d"

	cniHostDir = "/var/lib/gitops-cni"
)

// hosts is the hosts.toml that sends every pull of a node to the mirror, and to nothing else.
//
// Read in containerd 2.3.7, core/remotes/docker/config: HostDirFromRoot looks for a folder of the registry's name and
// then for _default, which is the only one here. parseHostsFile tries the [host] tables in order, then `server`.
// ConfigureHosts puts the registry's own address (registry-1.docker.io for docker.io) in the place of the last entry
// only where that names no host: where `server` is left out. Named, it is the last and here the only one, so there is
// nothing to fall back to. The registry asked for goes along as the parameter ns.
func hosts(mirror string) string {
	return fmt.Sprintf("server = %q\ncapabilities = [\"pull\", \"resolve\"]\n", "http://"+mirror)
}
