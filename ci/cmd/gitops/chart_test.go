package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestChart(t *testing.T) {
	t.Parallel()
	const charts, invalid = "../../../charts/backstage", "../../chart/testdata/invalid-"
	cases := map[string]struct {
		args string
		// out and err are parts of what is printed and of the error; no err means that there is none.
		out, err string
	}{
		"lint":                    {args: "lint --chart " + charts, out: `"findings": [`},
		"lint, a mistake":         {args: "lint --chart " + invalid + "schema", out: `"severity": "error"`, err: "got string, want integer"},
		"lint, no chart":          {args: "lint --chart nowhere", err: "nowhere has no Chart.yaml"},
		"lint, values missing":    {args: "lint --chart " + charts + " --values nowhere.yaml", err: "nowhere.yaml"},
		"render":                  {args: "render --chart " + charts + " --name portal", out: `name: "portal-backstage"`},
		"render, later file wins": {args: "render --chart " + charts + " --values " + charts + "/ci/digest-values.yaml --values ../../chart/testdata/values/released.yaml", out: "registry.example.org/backstage-gitops@sha256:"},
		"render, template error":  {args: "render --chart " + invalid + "fail", err: "say what to do instead"},
		"package":                 {args: "package --chart " + charts + " --out " + t.TempDir() + " --time 2026-11-23T09:35:00Z", out: `/backstage-`},
		"package, no time":        {args: "package --chart " + charts, err: "wants --time"},
		"package, time malformed": {args: "package --chart " + charts + " --time yesterday", err: `--time "yesterday" is no time`},
		"an argument":             {args: "lint " + charts, err: "takes no argument"},
		"unknown command":         {args: "install", err: `no command "install"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			root := newRoot()
			root.SetOut(&out)
			root.SetErr(&bytes.Buffer{})
			root.SetArgs(append([]string{"chart"}, strings.Fields(c.args)...))
			err := root.ExecuteContext(t.Context())
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v does not say %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("%q is not in the output:\n%s", c.out, out.String())
			}
		})
	}
}
