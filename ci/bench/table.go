package bench

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// readinessLimit is the most that the slim image's time to readiness may be of the stock image's. The time that a start
// waits while others have the processors says nothing of the image, so it does not count.
const readinessLimit = 0.7

// Measured is what was measured of one image.
type Measured struct {
	// CompressedBytes, DiskBytes and Files are those of the image in a registry.
	CompressedBytes int64 `json:"compressedBytes"`
	DiskBytes       int64 `json:"diskBytes"`
	Files           int   `json:"files"`
	// BuildSeconds made it anew with warm caches of packages, ChangeSeconds once more after an edit of the backend; 0
	// where no build was timed.
	BuildSeconds  float64 `json:"buildSeconds"`
	ChangeSeconds float64 `json:"changeSeconds"`
	Starts        []Start `json:"starts"`
}

// Facts are those of both images, from one run on one machine.
type Facts struct {
	Stock Measured `json:"stock"`
	Slim  Measured `json:"slim"`
}

// Row is one line of the table.
type Row struct {
	What string `json:"what"`
	Unit string `json:"unit"`
	// Other is the value of what a user would have otherwise.
	Other float64 `json:"other"`
	Ours  float64 `json:"ours"`
	// Ratio is ours to the other.
	Ratio float64 `json:"ratio"`
	// Limit is what ours must not exceed, and is 0 without one; OfRatio says that it is one of the ratio.
	Limit   float64 `json:"limit,omitempty"`
	OfRatio bool    `json:"ofRatio,omitempty"`
	Missed  bool    `json:"missed,omitempty"`

	// decimals of Other and Ours.
	decimals int
}

var (
	// ErrFacts says that there is nothing to compare.
	ErrFacts = errors.New("the facts do not make a table")
	// ErrMissed says that ours exceeds a limit.
	ErrMissed = errors.New("a limit is missed")
)

// Compare makes the rows of the table of images: the stock one is the other, the slim one ours.
func Compare(f Facts) ([]Row, error) {
	starts := len(f.Slim.Starts)
	if starts == 0 || len(f.Stock.Starts) != starts {
		return nil, fmt.Errorf("%w: %d starts of the stock image and %d of the slim one", ErrFacts, len(f.Stock.Starts), starts)
	}
	const mega = 1e6
	all := func(s Start) int64 { return s.Milliseconds }
	own := func(s Start) int64 { return s.Milliseconds - s.WaitingMilliseconds }
	processor := func(s Start) int64 { return s.ProcessorMilliseconds }
	resident := func(s Start) int64 { return s.ResidentBytes }
	rows := []Row{
		{What: "compressed, as a registry has it", Unit: "MB", Other: float64(f.Stock.CompressedBytes) / mega, Ours: float64(f.Slim.CompressedBytes) / mega,
			Limit: float64(image.SlimLimits.CompressedBytes) / mega, decimals: 1},
		{What: "on disk", Unit: "MB", Other: float64(f.Stock.DiskBytes) / mega, Ours: float64(f.Slim.DiskBytes) / mega,
			Limit: float64(image.SlimLimits.DiskBytes) / mega, decimals: 1},
		{What: "files", Other: float64(f.Stock.Files), Ours: float64(f.Slim.Files)},
		{What: fmt.Sprintf("start to readiness, median of %d", starts), Unit: "ms", Other: median(f.Stock.Starts, all), Ours: median(f.Slim.Starts, all)},
		{What: "readiness with a processor of its own", Unit: "ms", Other: median(f.Stock.Starts, own), Ours: median(f.Slim.Starts, own),
			Limit: readinessLimit, OfRatio: true},
		{What: "processor time until then", Unit: "ms", Other: median(f.Stock.Starts, processor), Ours: median(f.Slim.Starts, processor)},
		{What: "memory until then, at most", Unit: "MB", Other: median(f.Stock.Starts, resident) / mega, Ours: median(f.Slim.Starts, resident) / mega},
	}
	if f.Stock.BuildSeconds != 0 || f.Slim.BuildSeconds != 0 {
		rows = append(rows,
			Row{What: "build from source, packages cached", Unit: "s", Other: f.Stock.BuildSeconds, Ours: f.Slim.BuildSeconds},
			Row{What: "build after a one-line backend change", Unit: "s", Other: f.Stock.ChangeSeconds, Ours: f.Slim.ChangeSeconds})
	}
	return judge(rows)
}

// judge completes rows that have both values, and their limits.
func judge(rows []Row) ([]Row, error) {
	for i := range rows {
		r := &rows[i]
		if r.Other <= 0 || r.Ours <= 0 {
			return nil, fmt.Errorf("%w: %s was not measured", ErrFacts, r.What)
		}
		r.Ratio = r.Ours / r.Other
		judged := r.Ours
		if r.OfRatio {
			judged = r.Ratio
		}
		r.Missed = r.Limit > 0 && judged > r.Limit
	}
	return rows, nil
}

// Turns are what was measured by hand and here, in turns on one machine.
type Turns[T any] struct {
	Hand []T `json:"hand"`
	Here []T `json:"here"`
}

// check refuses turns of which a way is missing; ours names what was measured here.
func (f Turns[T]) check(ours string) error {
	if len(f.Here) == 0 || len(f.Hand) != len(f.Here) {
		return fmt.Errorf("%w: %d runs by hand and %d with %s", ErrFacts, len(f.Hand), len(f.Here), ours)
	}
	return nil
}

// row compares the median of a time: by hand is the other way.
func (f Turns[T]) row(what string, limit float64, of func(T) float64) Row {
	return Row{What: what, Unit: "s", Other: median(f.Hand, of), Ours: median(f.Here, of), Limit: limit, decimals: 1}
}

// median is that of one property of what was measured.
func median[T any, N int64 | float64](measured []T, of func(T) N) float64 {
	values := make([]N, len(measured))
	for i, m := range measured {
		values[i] = of(m)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return float64(values[middle])
	}
	return float64(values[middle-1]+values[middle]) / 2
}

// Markdown is the table for people, with what its two columns are called.
func Markdown(rows []Row, other, ours string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "| | %s | %s | limit | ratio |\n|---|---:|---:|---:|---:|\n", other, ours)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f |\n", r.What, r.value(r.Other), r.value(r.Ours), r.limit(), r.Ratio)
	}
	return b.Bytes()
}

func (r Row) value(v float64) string {
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", r.decimals, v, r.Unit))
}

func (r Row) limit() string {
	var text string
	switch {
	case r.Limit == 0:
		return ""
	case r.OfRatio:
		text = fmt.Sprintf("ratio %.2f", r.Limit)
	default:
		text = fmt.Sprintf("%.0f %s", r.Limit, r.Unit)
	}
	if r.Missed {
		text += ", missed"
	}
	return text
}

// Missed is the limits that ours exceeds in one sentence, nil where it keeps them.
func Missed(rows []Row) error {
	var missed []string
	for _, r := range rows {
		switch {
		case r.Missed && r.OfRatio:
			missed = append(missed, fmt.Sprintf("%s: %.2f of the other's, the limit is %.2f", r.What, r.Ratio, r.Limit))
		case r.Missed:
			missed = append(missed, fmt.Sprintf("%s: %s, the limit is %.0f %s", r.What, r.value(r.Ours), r.Limit, r.Unit))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMissed, strings.Join(missed, "; "))
}
