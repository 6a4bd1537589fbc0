package proof

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// did is a step that leaves word of itself.
func did(log *[]string, name, scenario string, err error) step {
	return step{name: name, scenario: scenario, run: func(context.Context) (string, error) {
		*log = append(*log, name)
		return "seen", err
	}}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	broken, lack := errors.New("broken"), &notHere{"no network that enforces"}
	cases := map[string]struct {
		steps  func(*[]string) []step
		strict bool
		// interrupted ends the run in its first step.
		interrupted bool
		ran         []string
		err         string
		lacks       []string
	}{
		"all is well": {
			steps: func(l *[]string) []step { return []step{did(l, "a", "", nil), did(l, "b", "x", nil)} },
			ran:   []string{"a", "b"},
		},
		"a failure of no scenario ends all": {
			steps: func(l *[]string) []step {
				return []step{did(l, "a", "", broken), did(l, "b", "", nil), did(l, "c", "x", nil)}
			},
			ran: []string{"a"}, err: "a: broken",
		},
		"one fault does not skip the next, and the first failure is told": {
			steps: func(l *[]string) []step {
				return []step{did(l, "a", "fault x", broken), did(l, "b", "fault x", nil), did(l, "c", "fault y", errors.New("other")), did(l, "d", "fence", nil)}
			},
			ran: []string{"a", "c", "d"}, err: "a: broken",
		},
		"what cannot be shown here is noted": {
			steps: func(l *[]string) []step { return []step{did(l, "a", "x", lack), did(l, "b", "x", nil)} },
			ran:   []string{"a", "b"}, lacks: []string{"a"},
		},
		"or a failure": {
			steps:  func(l *[]string) []step { return []step{did(l, "a", "x", lack), did(l, "b", "x", nil)} },
			strict: true, ran: []string{"a"}, err: "a: it cannot be shown here: no network that enforces",
		},
		"nothing begins in a run that is interrupted": {
			steps:       func(l *[]string) []step { return []step{did(l, "a", "x", context.Canceled), did(l, "b", "y", nil)} },
			interrupted: true, ran: []string{"a"}, err: "a: context canceled",
		},
		"nor is it proven": {
			steps:       func(l *[]string) []step { return []step{did(l, "a", "x", nil), did(l, "b", "y", nil)} },
			interrupted: true, ran: []string{"a"}, err: `before "b": context canceled`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ran []string
			p := &Proof{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			steps := c.steps(&ran)
			if first := steps[0].run; c.interrupted {
				steps[0].run = func(ctx context.Context) (string, error) {
					cancel()
					return first(ctx)
				}
			}
			err := p.execute(ctx, steps, c.strict)
			if !slices.Equal(ran, c.ran) || text(err) != c.err || !slices.Equal(p.NotProvenHere, c.lacks) || len(p.Steps) != len(ran) {
				t.Errorf("ran %q with %q, not here %q, %d steps; want %q with %q, not here %q", ran, text(err), p.NotProvenHere, len(p.Steps), c.ran, c.err, c.lacks)
			}
		})
	}
}

// TestPlanLooksAtTheFence: whatever is asked for, the last thing is what it sent outside.
func TestPlanLooksAtTheFence(t *testing.T) {
	t.Parallel()
	const first, last = "nothing outside the session was asked for", "what followed asked for nothing outside the session either"
	cases := map[string]struct {
		session Session
		want    []string
	}{
		"no cluster of its own": {session: Session{Faults: []string{"manifest"}}},
		"the main proof":        {session: Session{Cluster: "e2e", Changes: true}, want: []string{first}},
		"a fault":               {session: Session{Cluster: "e2e", Faults: []string{"git"}}, want: []string{first, last}},
		"a restart":             {session: Session{Cluster: "e2e", Faults: []string{"node"}, Features: []string{"tls"}}, want: []string{first, last}},
		"the platform":          {session: Session{Cluster: "e2e", Features: []string{AllFaults}}, want: []string{first, last}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps, err := c.session.plan()
			if err != nil {
				t.Fatal(err)
			}
			var fences []string
			for _, s := range steps {
				if strings.Contains(s.name, "outside") {
					fences = append(fences, s.name)
				}
			}
			if !slices.Equal(fences, c.want) {
				t.Errorf("it looks at the fence in %q, not in %q", fences, c.want)
			}
			if end := steps[len(steps)-1].name; len(c.want) > 0 && end != c.want[len(c.want)-1] {
				t.Errorf("the last step is %q", end)
			}
		})
	}
	for what, s := range map[string]Session{"fault": {Faults: []string{"fire"}}, "part": {Features: []string{"fire"}}} {
		if _, err := s.plan(); err == nil || !strings.Contains(err.Error(), `"fire"`) {
			t.Errorf("an unknown %s: %v", what, err)
		}
	}
}
