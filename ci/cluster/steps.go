package cluster

import (
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kind/pkg/log"
)

// steps measures the parts of making a cluster. It is kind's logger as well: kind tells its parts in no other way.
type steps struct {
	now func() time.Time

	mu      sync.Mutex
	all     []Step
	began   time.Time
	current string
	since   time.Time
}

func newSteps() *steps {
	s := &steps{now: time.Now}
	s.began = s.now()
	return s
}

// start ends the present step and begins another.
func (s *steps) start(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish()
	s.current, s.since = name, s.now()
}

func (s *steps) finish() {
	if s.current == "" {
		return
	}
	took := s.now().Sub(s.since)
	s.all = append(s.all, Step{Step: s.current, Seconds: seconds(took)})
	slog.Info("done", "step", s.current, "seconds", seconds(took))
	s.current = ""
}

func (s *steps) end() []Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish()
	return s.all
}

func (s *steps) total() float64 { return seconds(s.now().Sub(s.began)) }

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*100) / 100 }

// kind's Status writes " • Starting control-plane 🕹️  ...\n", then " ✓ Starting control-plane 🕹️\n".
var begins = regexp.MustCompile(`^ • (.*?)\s*\.\.\.\s*$`)

// step is the name of the step that a line of kind's begins, nothing for another line.
func step(line string) string {
	m := begins.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return strings.ToLower(plain(m[1]))
}

// plain leaves kind's pictures out.
func plain(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r > 0x2000 && r != '≤' {
			return -1
		}
		return r
	}, s)), " ")
}

func (s *steps) line(line string) {
	if name := step(line); name != "" {
		s.start(name)
		return
	}
	if line = plain(line); line != "" {
		slog.Debug(line)
	}
}

// Warn is part of kind's logger.
func (s *steps) Warn(message string) { slog.Warn(plain(message)) }

// Warnf is part of kind's logger.
func (s *steps) Warnf(format string, args ...any) { s.Warn(fmt.Sprintf(format, args...)) }

// Error is part of kind's logger.
func (s *steps) Error(message string) { slog.Error(plain(message)) }

// Errorf is part of kind's logger.
func (s *steps) Errorf(format string, args ...any) { s.Error(fmt.Sprintf(format, args...)) }

// V is part of kind's logger.
func (s *steps) V(level log.Level) log.InfoLogger { return info{steps: s, level: level} }

type info struct {
	steps *steps
	level log.Level
}

// Info is part of kind's logger. Its steps are at level 0.
func (i info) Info(message string) {
	if i.level == 0 {
		i.steps.line(message)
	}
}

// Infof is part of kind's logger.
func (i info) Infof(format string, args ...any) { i.Info(fmt.Sprintf(format, args...)) }

// Enabled is part of kind's logger.
func (i info) Enabled() bool { return i.level == 0 }
