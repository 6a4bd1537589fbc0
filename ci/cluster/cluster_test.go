package cluster

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kind/pkg/exec"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func valid() Options {
	return Options{Name: "e2e", Image: "kindest/node:v1.37.2", Server: "docker"}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*Options)
		want   string
	}{
		"valid": {change: func(*Options) {}},
		"everything": {change: func(o *Options) {
			o.Workers, o.Mirror, o.PodSubnet = MaxWorkers, "10.87.0.4:5000", "10.244.0.0/16"
			o.Ports = []Port{{8000, 30800}}
		}},
		"image by digest":       {change: func(o *Options) { o.Image = "kindest/node@sha256:" + strings.Repeat("a", 64) }},
		"no name":               {change: func(o *Options) { o.Name = "" }, want: `the name ""; 1 to 40 lower-case letters, digits and dashes make one`},
		"name with a flag":      {change: func(o *Options) { o.Name = "-f" }, want: `the name "-f"`},
		"upper case":            {change: func(o *Options) { o.Name = "E2E" }, want: `the name "E2E"`},
		"too long":              {change: func(o *Options) { o.Name = strings.Repeat("a", 41) }, want: "the name"},
		"no image":              {change: func(o *Options) { o.Image = "" }, want: `"" is not an image; a node image is such as kindest/node:v1.37.2`},
		"image with a space":    {change: func(o *Options) { o.Image = "kindest/node: v1" }, want: "is not an image"},
		"fewer than no workers": {change: func(o *Options) { o.Workers = -1 }, want: "-1 workers; 0 to 8 are possible"},
		"too many workers":      {change: func(o *Options) { o.Workers = 9 }, want: "9 workers; 0 to 8 are possible"},
		"mirror without port":   {change: func(o *Options) { o.Mirror = "registry" }, want: `the mirror "registry" is not HOST:PORT`},
		"mirror with scheme":    {change: func(o *Options) { o.Mirror = "http://registry:5000" }, want: "is not HOST:PORT"},
		"mirror without host":   {change: func(o *Options) { o.Mirror = ":5000" }, want: "is not HOST:PORT"},
		"mirror with TOML":      {change: func(o *Options) { o.Mirror = "a\"\nserver = \"b:5000" }, want: "is not HOST:PORT"},
		"small range":           {change: func(o *Options) { o.PodSubnet = "10.0.0.0/24" }, want: "of at least /22"},
		"no range":              {change: func(o *Options) { o.PodSubnet = "many" }, want: "of at least /22"},
		"IPv6 range":            {change: func(o *Options) { o.PodSubnet = "fd00::/16" }, want: "is not an IPv4 range"},
		"negative wait":         {change: func(o *Options) { o.Wait = -time.Second }, want: "a wait of -1s"},
		"server with a port":    {change: func(o *Options) { o.Server = "docker:6443" }, want: `the server "docker:6443" is not a host name`},
		"port twice":            {change: func(o *Options) { o.Ports = []Port{{8000, 1}, {8000, 2}} }, want: "port 8000 is taken twice"},
		"the API's port":        {change: func(o *Options) { o.Ports = []Port{{6443, 1}} }, want: "port 6443 is taken twice; 6443 is the API server's"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := valid()
			c.change(&o)
			err := o.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestParsePort(t *testing.T) {
	t.Parallel()
	if p, err := ParsePort("8000:30800"); err != nil || p != (Port{8000, 30800}) {
		t.Errorf("%v, %v", p, err)
	}
	for _, s := range []string{"", "8000", "8000:", ":1", "0:1", "1:0", "65536:1", "a:1", "1:2:3", "-1:1"} {
		if p, err := ParsePort(s); !errors.Is(err, ErrOptions) {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"one":     valid(),
		"cni":     {Name: "e2e", Image: "kindest/node:v1.37.2", Workers: 1, CNI: []*unstructured.Unstructured{{}}},
		"workers": {Name: "e2e", Image: "kindest/node:v1.37.2", Workers: 2, PodSubnet: "10.10.0.0/16", Ports: []Port{{8000, 30800}, {8080, 80}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := yaml.Marshal(o.config("2"))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/config-"+name+".yaml", got)
		})
	}
	got, err := yaml.Marshal(valid().config("1"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/config-cgroups-v1.yaml", got)
}

// TestHosts holds the file to what containerd's rules make of it: a server is named, so that none is filled in, and no
// other entry is there.
func TestHosts(t *testing.T) {
	t.Parallel()
	want := "server = \"http://10.87.0.4:5000\"\ncapabilities = [\"pull\", \"resolve\"]\n"
	if got := hosts("10.87.0.4:5000"); got != want {
		t.Errorf("got %s", got)
	}
}

func TestPointAt(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile("testdata/kubeconfig-kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pointAt(string(in), "docker")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/kubeconfig.yaml", got)
	if _, err := pointAt("a: [", "docker"); err == nil {
		t.Error("a broken kubeconfig was taken")
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	s := newSteps()
	s.now, s.began = func() time.Time { return clock }, clock
	pass := func(d time.Duration) { clock = clock.Add(d) }
	s.start("node image")
	pass(1500 * time.Millisecond)
	// What kind writes; levels above 0 and other lines are no steps.
	s.V(0).Infof("Creating cluster %q ...\n", "e2e")
	s.V(0).Infof(" • %s  ...\n", "Preparing nodes 📦 📦 ")
	pass(2 * time.Second)
	s.V(0).Infof(" ✓ %s\n", "Preparing nodes 📦 📦 ")
	s.V(1).Infof(" • %s  ...\n", "not shown")
	s.V(0).Infof(" • %s  ...\n", "Starting control-plane 🕹️")
	pass(6 * time.Second)
	got := s.end()
	want := []Step{{"node image", 1.5}, {"preparing nodes", 2}, {"starting control-plane", 6}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("step %d: got %v, want %v", i, got[i], want[i])
		}
	}
	if s.total() != 9.5 {
		t.Errorf("total %v", s.total())
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	failed := errors.New("exit status 1")
	cases := map[string]struct {
		err  error
		want string
	}{
		"no command": {failed, "exit status 1"},
		"docker": {
			&exec.RunError{Command: []string{"docker", "pull", "--quiet", "x"}, Output: []byte("Error response from daemon: manifest for x not found\n"), Inner: failed},
			"docker pull: Error response from daemon: manifest for x not found",
		},
		"docker's hint": {
			&exec.RunError{Command: []string{"docker", "run", "x"}, Output: []byte("docker: Error response from daemon: port is already allocated\n\nRun 'docker run --help' for more information\n"), Inner: failed},
			"docker run: docker: Error response from daemon: port is already allocated",
		},
		"in a node": {
			&exec.RunError{Command: []string{"docker", "exec", "--privileged", "e2e-control-plane", "kubeadm", "init", "--config=/kind/kubeadm.conf"}, Output: []byte("I1123 init\nerror: cgroup v1\nk8s.io/kubernetes/cmd/kubeadm/app.Run\n\tcmd/kubeadm/app/kubeadm.go:47\nruntime.goexit\n\truntime/asm_amd64.s:1771\n"), Inner: failed},
			"kubeadm init: error: cgroup v1",
		},
		"with a stack trace": {
			&exec.RunError{Command: []string{"docker", "exec", "n", "kubeadm", "init"}, Output: []byte("error: timed out\nerror execution phase wait-control-plane\nk8s.io/kubernetes/cmd/kubeadm/app.Run\n\truntime/asm_amd64.s:1771\n"), Inner: failed},
			"kubeadm init: error execution phase wait-control-plane",
		},
		"silent": {
			&exec.RunError{Command: []string{"docker", "ps"}, Inner: failed},
			"docker ps: exit status 1",
		},
	}
	for name, c := range cases {
		if got := explain(c.err).Error(); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestBlame(t *testing.T) {
	t.Parallel()
	taken := errors.New("Bind for 0.0.0.0:6443 failed: port is already allocated")
	if got := blame(taken, "e2e", []string{"e2e", "two"}).Error(); !strings.HasSuffix(got, "; this daemon has the cluster two as well, which gitops cluster delete --name two removes") {
		t.Errorf("got %s", got)
	}
	for name, err := range map[string]error{
		"no other cluster": blame(taken, "e2e", []string{"e2e"}),
		"another error":    blame(errors.New("x"), "e2e", []string{"two"}),
	} {
		if strings.Contains(err.Error(), "cluster") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnready(t *testing.T) {
	t.Parallel()
	node := func(name string, ready corev1.ConditionStatus) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: ready, Reason: "KubeletNotReady", Message: "cni plugin not initialized"},
		}}}
	}
	cases := map[string]struct {
		nodes []corev1.Node
		want  string
	}{
		"none":     {nil, "2 of 2 nodes have not joined"},
		"all":      {[]corev1.Node{node("a", corev1.ConditionTrue), node("b", corev1.ConditionTrue)}, ""},
		"one away": {[]corev1.Node{node("a", corev1.ConditionTrue)}, "1 of 2 nodes have not joined"},
		"one not":  {[]corev1.Node{node("b", corev1.ConditionFalse), node("a", corev1.ConditionTrue)}, "Node b: KubeletNotReady: cni plugin not initialized"},
	}
	for name, c := range cases {
		if got := unready(c.nodes, 2); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestEventTable(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	got := eventTable([]corev1.Event{
		{LastTimestamp: metav1.NewTime(at.Add(time.Second)), Type: "Warning", Reason: "BackOff", Count: 3, Message: "Back-off\nrestarting", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p"}},
		{EventTime: metav1.NewMicroTime(at.Time), Type: "Normal", Reason: "Scheduled", Message: "assigned", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p"}},
	})
	want := "2026-11-23T10:00:00Z  Normal   Scheduled                 Pod ns/p  x1  assigned\n" +
		"2026-11-23T10:00:01Z  Warning  BackOff                   Pod ns/p  x3  Back-off restarting\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

// TestNoDocker is what a machine without the docker command says.
func TestNoDocker(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, _, err := Create(t.Context(), valid()); !errors.Is(err, ErrDocker) || !strings.Contains(err.Error(), "there is no docker command") {
		t.Errorf("got %v", err)
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run the test with -update and look at the change. Got:\n%s", file, got)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for mirror, want := range map[string]string{"": "", "localhost:5000": "127.0.0.1:5000", "10.1.2.3:5000": "10.1.2.3:5000"} {
		if got, err := address(t.Context(), mirror); err != nil || got != want {
			t.Errorf("%q is at %q (%v), want %q", mirror, got, err, want)
		}
	}
	if _, err := address(t.Context(), "no-such-host.invalid:5000"); err == nil || !strings.Contains(err.Error(), "find the mirror no-such-host.invalid:5000") {
		t.Errorf("got %v", err)
	}
}
