package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/constants"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	kinderrors "sigs.k8s.io/kind/pkg/errors"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// Sentinel errors of this package.
var (
	// ErrDocker says that there is no Docker daemon to make clusters with.
	ErrDocker = errors.New("no Docker daemon")
	// ErrImage says that there is no such node image.
	ErrImage = errors.New("no node image")
	// ErrNoCluster says that there is no cluster of a name.
	ErrNoCluster = errors.New("no such cluster")
	// ErrNotReady says that a cluster was made and did not get ready.
	ErrNotReady = errors.New("the cluster is not ready in time")
)

// Node is a machine of a cluster.
type Node struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
}

// Step is a part of making a cluster.
type Step struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
}

// Cluster is a cluster that runs.
type Cluster struct {
	Name              string  `json:"name"`
	KubernetesVersion string  `json:"kubernetesVersion"`
	Nodes             []Node  `json:"nodes"`
	Seconds           float64 `json:"seconds"`
	Steps             []Step  `json:"steps"`
}

// Create makes a cluster and gives it with a kubeconfig for whoever reaches the Docker daemon's host as o.Server. What
// an earlier run of the same name left is removed first. When it fails, or ctx ends, nothing of the cluster is left.
func Create(ctx context.Context, o Options) (*Cluster, []byte, error) {
	o.Name, o.Server = cmp.Or(o.Name, DefaultName), cmp.Or(o.Server, DefaultServer)
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	steps := newSteps()
	// The daemon knows the mirror by its name, and the nodes by its address.
	mirror := o.Mirror
	var err error
	if o.Mirror, err = address(ctx, o.Mirror); err != nil {
		return nil, nil, err
	}
	cgroups, err := daemon(ctx)
	if err != nil {
		return nil, nil, err
	}
	provider := cluster.NewProvider(cluster.ProviderWithDocker(), cluster.ProviderWithLogger(steps))
	scratch, err := os.MkdirTemp("", "gitops-cluster-")
	if err != nil {
		return nil, nil, fmt.Errorf("create cluster %s: %w", o.Name, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	// kind writes a kubeconfig of its own and edits it on removal. It must not be the user's.
	ignored := filepath.Join(scratch, "kubeconfig")

	steps.start("remove leftovers")
	if err := provider.Delete(o.Name, ignored); err != nil {
		return nil, nil, fmt.Errorf("remove what is left of cluster %s: %w", o.Name, explain(err))
	}
	steps.start("node image")
	if o.Image, err = ensureImage(ctx, o.Image, mirror); err != nil {
		return nil, nil, err
	}
	if o.Fence {
		// Before there is a node: none of its packets goes by uncounted.
		steps.start("fence")
		networking := o.config(cgroups).Networking
		if err := raise(ctx, o.Image, networking.PodSubnet, networking.ServiceSubnet); err != nil {
			return nil, nil, fmt.Errorf("fence the cluster in: %w", err)
		}
	}
	c, kubeconfig, err := create(ctx, provider, steps, o, cgroups, ignored)
	if err != nil {
		if o.Logs != "" && ctx.Err() == nil {
			if _, e := CollectLogs(ctx, o.Name, o.Server, o.Logs); e != nil {
				slog.Warn("no logs of the cluster that failed", "error", e)
			}
		}
		// The context may be what ended it.
		if e := provider.Delete(o.Name, ignored); e != nil {
			err = fmt.Errorf("%w; and it could not be removed: %w", err, explain(e))
		}
		return nil, nil, fmt.Errorf("create cluster %s: %w", o.Name, err)
	}
	c.Steps = steps.end()
	c.Seconds = steps.total()
	return c, kubeconfig, nil
}

// address is a mirror by its IP address: nodes do not know the hosts of whoever makes them.
func address(ctx context.Context, mirror string) (string, error) {
	host, port, err := net.SplitHostPort(mirror)
	if err != nil {
		return mirror, nil // there is none
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
	if err != nil {
		return "", fmt.Errorf("find the mirror %s: %w", mirror, err)
	}
	return net.JoinHostPort(ips[0].String(), port), nil
}

func create(ctx context.Context, provider *cluster.Provider, steps *steps, o Options, cgroups, ignored string) (*Cluster, []byte, error) {
	done := make(chan error, 1)
	go func() {
		// Readiness is watched for below: kind's own wait looks at the control plane only, starts a kubectl for each
		// look, and takes a time that ran out for success.
		done <- provider.Create(o.Name, cluster.CreateWithV1Alpha4Config(o.config(cgroups)), cluster.CreateWithKubeconfigPath(ignored),
			cluster.CreateWithWaitForReady(0), cluster.CreateWithRetain(true))
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		// kind knows no context. Without its containers it ends by itself.
		_ = provider.Delete(o.Name, ignored)
		<-done
		return nil, nil, ctx.Err()
	}
	if err != nil {
		err = explain(err)
		if others, e := provider.List(); e == nil {
			err = blame(err, o.Name, others)
		}
		return nil, nil, err
	}
	all, err := provider.ListInternalNodes(o.Name)
	if err != nil {
		return nil, nil, explain(err)
	}
	if o.Mirror != "" {
		steps.start("registry mirror")
		for _, n := range all {
			if err := nodeutils.WriteFile(n, hostsFile, hosts(o.Mirror)); err != nil {
				return nil, nil, fmt.Errorf("point node %s at the mirror: %w", n, explain(err))
			}
		}
	}
	kubeconfig, err := Kubeconfig(provider, o.Name, o.Server)
	if err != nil {
		return nil, nil, err
	}
	client, err := connectTo(kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	if len(o.CNI) > 0 {
		steps.start("pod network")
		if err := forward(all); err != nil {
			return nil, nil, err
		}
		if err := installCNI(ctx, client, o); err != nil {
			return nil, nil, fmt.Errorf("pod network: %w", err)
		}
	}
	if o.Wait > 0 {
		steps.start("nodes ready")
		if err := waitReady(ctx, client, len(all), o.Wait); err != nil {
			return nil, nil, err
		}
	}
	steps.start("describe")
	c, err := describe(o.Name, all)
	return c, kubeconfig, err
}

// blame adds the clusters that may hold a port which is taken.
func blame(err error, name string, clusters []string) error {
	others := slices.DeleteFunc(clusters, func(s string) bool { return s == name })
	if len(others) == 0 || !strings.Contains(err.Error(), "port is already allocated") {
		return err
	}
	return fmt.Errorf("%w; this daemon has the cluster %s as well, which gitops cluster delete --name %s removes", err, strings.Join(others, " and "), others[0])
}

// connect finds the Docker daemon.
func connect(ctx context.Context, logger *steps) (*cluster.Provider, error) {
	if _, err := daemon(ctx); err != nil {
		return nil, err
	}
	return cluster.NewProvider(cluster.ProviderWithDocker(), cluster.ProviderWithLogger(logger)), nil
}

// daemon asks the Docker daemon for its version of control groups, 1 or 2.
func daemon(ctx context.Context) (cgroups string, err error) {
	out, err := exec.Output(exec.CommandContext(ctx, "docker", "info", "--format", "{{.CgroupVersion}}"))
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "executable file not found") {
		return "", fmt.Errorf("%w: there is no docker command to talk to it", ErrDocker)
	}
	host := cmp.Or(os.Getenv("DOCKER_HOST"), "its default socket")
	return "", fmt.Errorf("%w: none answers at %s (DOCKER_HOST): %w", ErrDocker, host, explain(err))
}

// ensureImage pulls the nodes' image unless it is there, from the mirror where there is one, and gives the name that the
// daemon has it by. kind would pull it too, but tries five times for ten seconds and then says just that docker failed.
func ensureImage(ctx context.Context, image, mirror string) (string, error) {
	if run(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", image) == nil {
		return image, nil
	}
	from, err := at(mirror, image)
	if err != nil {
		return "", err
	}
	if err := pull(ctx, from); err != nil {
		return "", err
	}
	if from == image || strings.Contains(image, "@") {
		// A digest cannot be given to an image as a tag can.
		return from, nil
	}
	return image, run(ctx, "docker", "tag", from, image)
}

func pull(ctx context.Context, image string) error {
	for attempt := 1; ; attempt++ {
		err := run(ctx, "docker", "pull", "--quiet", image)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !health.Transient(err.Error()):
			return fmt.Errorf("%w %s in its registry; choose another Kubernetes version: %w", ErrImage, image, err)
		case attempt == pulls:
			return fmt.Errorf("%w: the registry of %s does not answer: %w", ErrImage, image, err)
		}
		slog.Warn("the node image's registry does not answer", "image", image, "attempt", attempt, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt) * time.Second):
		}
	}
}

// pulls is how often to try a registry that does not answer.
const pulls = 3

// run is one docker command; its error is what the command said last.
func run(ctx context.Context, name string, args ...string) error {
	if err := exec.CommandContext(ctx, name, args...).Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return explain(err)
	}
	return nil
}

// explain puts what a command of kind's printed last into the place of kind's "exit status 1".
func explain(err error) error {
	failed := exec.RunErrorForError(err)
	if failed == nil {
		return err
	}
	slog.Debug("a command failed", "command", strings.Join(failed.Command, " "), "output", string(failed.Output))
	if line := reason(string(failed.Output)); line != "" {
		return fmt.Errorf("%s: %s", what(failed.Command), line)
	}
	return fmt.Errorf("%s: %w", what(failed.Command), failed.Inner)
}

// fault is how kubeadm begins the line that says why. At the verbosity that kind asks for, a stack trace follows.
var fault = regexp.MustCompile(`^(error: |error execution phase |\[ERROR )`)

// reason is the line of an output that says why a command failed: the last that begins so, else the last.
func reason(output string) string {
	last, why := "", ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		switch {
		case fault.MatchString(line):
			why = line
		case line == "", strings.HasPrefix(line, "Run 'docker"), strings.HasPrefix(line, "See 'docker"):
		default:
			last = line
		}
	}
	return cmp.Or(why, last)
}

// what shortens a command to what matters of it: docker run, kubeadm init.
func what(command []string) string {
	if len(command) > 2 && command[0] == "docker" && command[1] == "exec" {
		for i, arg := range command {
			if arg == "kubeadm" || arg == "kubectl" || arg == "cat" || arg == "cp" || arg == "mkdir" {
				return strings.Join(command[i:min(i+2, len(command))], " ")
			}
		}
	}
	return strings.Join(command[:min(2, len(command))], " ")
}

// Kubeconfig is a cluster's kubeconfig for whoever reaches the Docker daemon's host as server. The API server's
// certificate is for localhost, whatever the way to it.
func Kubeconfig(provider *cluster.Provider, name, server string) ([]byte, error) {
	text, err := provider.KubeConfig(name, false)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of cluster %s: %w", name, explain(err))
	}
	return pointAt(text, server)
}

func pointAt(kubeconfig, server string) ([]byte, error) {
	config, err := clientcmd.Load([]byte(kubeconfig))
	if err != nil {
		return nil, fmt.Errorf("kind's kubeconfig: %w", err)
	}
	for _, c := range config.Clusters {
		c.Server = "https://" + server + ":" + strconv.Itoa(apiPort)
		c.TLSServerName = "localhost"
	}
	return clientcmd.Write(*config)
}

func connectTo(kubeconfig []byte) (*kube.Client, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kind's kubeconfig: %w", err)
	}
	return kube.New(config)
}

// forwarding is the file of a node's kernel settings that is read now and when the node starts again.
const forwarding = "/etc/sysctl.d/90-forwarding.conf"

// forward has each node pass on what comes to its NodePorts for pods on others. A pod network's plugins see to that when
// a node gets its first pod; a control plane that takes none would have what the machine itself has, often nothing.
func forward(all []nodes.Node) error {
	for _, n := range all {
		err := nodeutils.WriteFile(n, forwarding, "net.ipv4.ip_forward = 1\n")
		if err == nil {
			err = n.Command("sysctl", "--quiet", "--load="+forwarding).Run()
		}
		if err != nil {
			return fmt.Errorf("have node %s forward packets: %w", n, explain(err))
		}
	}
	return nil
}

// installCNI installs a pod network.
func installCNI(ctx context.Context, client *kube.Client, o Options) error {
	applied, err := manifests.Apply(ctx, client, o.CNI, manifests.Options{PullPolicy: corev1.PullIfNotPresent})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(o.Wait, time.Minute), ErrNotReady)
	defer cancel()
	return manifests.Wait(ctx, client, applied)
}

// waitReady watches until every node is ready.
func waitReady(ctx context.Context, client *kube.Client, count int, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNotReady)
	defer cancel()
	scope := kube.Scope{Resource: kube.Nodes}
	o, err := client.Observe(ctx, scope)
	if err != nil {
		return err
	}
	defer o.Stop()
	for {
		problem := unready(kube.As[corev1.Node](o.List(scope)), count)
		if problem == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			if err := o.Err(); err != nil {
				problem = kube.Unreachable(err).Error()
			}
			return fmt.Errorf("%w: after %s %s", context.Cause(ctx), limit, problem)
		case <-o.Changed():
		}
	}
}

// unready says what nodes lack, nothing where all are there and ready.
func unready(all []corev1.Node, count int) string {
	var problems []string
	for _, n := range all {
		if p := health.Node(&n); p != nil {
			problems = append(problems, p.String())
		}
	}
	if missing := count - len(all); missing > 0 {
		problems = append(problems, fmt.Sprintf("%d of %d nodes have not joined", missing, count))
	}
	slices.Sort(problems)
	return strings.Join(problems, "; ")
}

func describe(name string, all []nodes.Node) (*Cluster, error) {
	c := &Cluster{Name: name}
	for _, n := range all {
		role, err := n.Role()
		if err != nil {
			return nil, explain(err)
		}
		address, _, err := n.IP()
		if err != nil {
			return nil, explain(err)
		}
		c.Nodes = append(c.Nodes, Node{Name: n.String(), Role: role, Address: address})
		if role == constants.ControlPlaneNodeRoleValue {
			if c.KubernetesVersion, err = nodeutils.KubeVersion(n); err != nil {
				return nil, explain(err)
			}
		}
	}
	// docker ps lists the newest first.
	slices.SortFunc(c.Nodes, func(a, b Node) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	})
	return c, nil
}

// Delete removes a cluster. That there is none is not an error; it says whether there was one.
func Delete(ctx context.Context, name string) (bool, error) {
	if err := validName(name); err != nil {
		return false, err
	}
	provider, err := connect(ctx, newSteps())
	if err != nil {
		return false, err
	}
	all, err := provider.ListNodes(name)
	if err != nil {
		return false, fmt.Errorf("delete cluster %s: %w", name, explain(err))
	}
	scratch, err := os.MkdirTemp("", "gitops-cluster-")
	if err != nil {
		return false, fmt.Errorf("delete cluster %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if err := provider.Delete(name, filepath.Join(scratch, "kubeconfig")); err != nil {
		return false, fmt.Errorf("delete cluster %s: %w", name, explain(err))
	}
	return len(all) > 0, nil
}

// Describe gives a cluster that runs.
func Describe(ctx context.Context, name string) (*Cluster, error) {
	_, all, err := find(ctx, name)
	if err != nil {
		return nil, err
	}
	return describe(name, all)
}

func find(ctx context.Context, name string) (*cluster.Provider, []nodes.Node, error) {
	if err := validName(name); err != nil {
		return nil, nil, err
	}
	provider, err := connect(ctx, newSteps())
	if err != nil {
		return nil, nil, err
	}
	all, err := provider.ListInternalNodes(name)
	if err != nil {
		return nil, nil, fmt.Errorf("nodes of cluster %s: %w", name, explain(err))
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%w: %s; gitops cluster create makes it", ErrNoCluster, name)
	}
	return provider, all, nil
}

// aggregated is for errors that kind joins.
func aggregated(err error) []error {
	if errs := kinderrors.Errors(err); len(errs) > 0 {
		return errs
	}
	return []error{err}
}
