package bench

import (
	"errors"
	"strings"
	"testing"
)

// starts are those of a program that needed so many milliseconds and waited for half a second more.
func starts(milliseconds ...int64) []Start {
	var list []Start
	for _, ms := range milliseconds {
		list = append(list, Start{Milliseconds: ms + 500, WaitingMilliseconds: 500, ProcessorMilliseconds: ms * 2, ResidentBytes: 400e6})
	}
	return list
}

func facts() Facts {
	return Facts{
		Stock: Measured{CompressedBytes: 268e6, DiskBytes: 850e6, Files: 60000, BuildSeconds: 200, ChangeSeconds: 100, Starts: starts(4000, 9000, 3000)},
		Slim:  Measured{CompressedBytes: 71_100_000, DiskBytes: 229_700_000, Files: 12000, BuildSeconds: 150, ChangeSeconds: 60, Starts: starts(2000, 2400, 2500)},
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	rows, err := Compare(facts())
	if err != nil {
		t.Fatal(err)
	}
	const want = `| | stock | slim | limit | ratio |
|---|---:|---:|---:|---:|
| compressed, as a registry has it | 268.0 MB | 71.1 MB | 85 MB | 0.27 |
| on disk | 850.0 MB | 229.7 MB | 300 MB | 0.27 |
| files | 60000 | 12000 |  | 0.20 |
| start to readiness, median of 3 | 4500 ms | 2900 ms |  | 0.64 |
| readiness with a processor of its own | 4000 ms | 2400 ms | ratio 0.70 | 0.60 |
| processor time until then | 8000 ms | 4800 ms |  | 0.60 |
| memory until then, at most | 400 MB | 400 MB |  | 1.00 |
| build from source, packages cached | 200 s | 150 s |  | 0.75 |
| build after a one-line backend change | 100 s | 60 s |  | 0.60 |
`
	if got := string(Markdown(rows, "stock", "slim")); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	if err := Missed(rows); err != nil {
		t.Errorf("a limit is missed: %v", err)
	}
	f := facts()
	f.Stock.BuildSeconds, f.Stock.ChangeSeconds, f.Slim.BuildSeconds, f.Slim.ChangeSeconds = 0, 0, 0, 0
	if rows, err = Compare(f); err != nil {
		t.Fatal(err)
	}
	without, _, _ := strings.Cut(want, "| build")
	if got := string(Markdown(rows, "stock", "slim")); got != without {
		t.Errorf("without builds the table is\n%s\nwant\n%s", got, without)
	}
}

func TestCompareSteps(t *testing.T) {
	t.Parallel()
	f := Turns[Steps]{
		Hand: []Steps{{Cluster: 20, Argocd: 40, Release: 20, Change: 30}, {Cluster: 22, Argocd: 44, Release: 24, Change: 32}},
		Here: []Steps{{Cluster: 12, Argocd: 22, Release: 10, Change: 17}, {Cluster: 14, Argocd: 22, Release: 12, Change: 15}},
	}
	rows, err := CompareSteps(f)
	if err != nil {
		t.Fatal(err)
	}
	const want = `| | by hand | here | limit | ratio |
|---|---:|---:|---:|---:|
| cluster ready | 21.0 s | 13.0 s | 15 s | 0.62 |
| Argo CD ready after that | 42.0 s | 22.0 s | 25 s | 0.52 |
| release healthy after its Application | 22.0 s | 11.0 s |  | 0.50 |
| push to the new pod serving | 31.0 s | 16.0 s | 15 s, missed | 0.52 |
| all of it | 116.0 s | 62.0 s |  | 0.53 |
`
	if got := string(Markdown(rows, "by hand", "here")); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	if err := Missed(rows); !errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), "push to the new pod serving: 16.0 s, the limit is 15 s") {
		t.Errorf("error is %v", err)
	}
	f.Here = f.Here[:1]
	if _, err := CompareSteps(f); !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), "2 runs by hand and 1 with the helper program") {
		t.Errorf("error is %v", err)
	}
	f.Hand = f.Hand[:1]
	f.Hand[0].Argocd = 0
	if _, err := CompareSteps(f); !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), "Argo CD ready after that was not measured") {
		t.Errorf("error is %v", err)
	}
}

func TestCompareAttested(t *testing.T) {
	t.Parallel()
	f := Turns[Attested]{
		Hand: []Attested{{Attest: 20, Verify: 4}, {Attest: 22, Verify: 6}, {Attest: 60, Verify: 5}},
		Here: []Attested{{Attest: 11, Verify: 0.5}, {Attest: 10, Verify: 0.4}, {Attest: 12, Verify: 0.6}},
	}
	rows, err := CompareAttested(f)
	if err != nil {
		t.Fatal(err)
	}
	const want = `| | by hand | here | limit | ratio |
|---|---:|---:|---:|---:|
| two SBOMs, provenance and signature, attached | 22.0 s | 11.0 s | 15 s | 0.50 |
| all of it verified | 5.0 s | 0.5 s |  | 0.10 |
`
	if got := string(Markdown(rows, "by hand", "here")); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	if err := Missed(rows); err != nil {
		t.Errorf("a limit is missed: %v", err)
	}
	f.Here[0].Attest, f.Here[1].Attest = 15.2, 15.3
	if rows, err = CompareAttested(f); err != nil {
		t.Fatal(err)
	}
	if err := Missed(rows); !errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), "signature, attached: 15.2 s, the limit is 15 s") {
		t.Errorf("error is %v", err)
	}
	f.Here = f.Here[:2]
	if _, err := CompareAttested(f); !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), "3 runs by hand and 2 with the program attest") {
		t.Errorf("error is %v", err)
	}
	if _, err := CompareAttested(Turns[Attested]{Hand: []Attested{{}}, Here: []Attested{{}}}); !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), "was not measured") {
		t.Errorf("error is %v", err)
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change      func(*Facts)
		want, table string
	}{
		"at the limits": {func(f *Facts) {
			f.Slim.CompressedBytes, f.Slim.DiskBytes, f.Slim.Starts = 85e6, 300e6, starts(2800, 2800, 2800)
		}, "", ""},
		"compressed": {func(f *Facts) { f.Slim.CompressedBytes = 85_200_000 },
			"a limit is missed: compressed, as a registry has it: 85.2 MB, the limit is 85 MB", "| 85.2 MB | 85 MB, missed |"},
		"on disk": {func(f *Facts) { f.Slim.DiskBytes = 301e6 },
			"on disk: 301.0 MB, the limit is 300 MB", "| 301.0 MB | 300 MB, missed |"},
		"readiness, and disk": {func(f *Facts) { f.Slim.DiskBytes, f.Slim.Starts = 301e6, starts(3000, 3000, 3000) },
			"300 MB; readiness with a processor of its own: 0.75 of the other's, the limit is 0.70", "| 3000 ms | ratio 0.70, missed | 0.75 |"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			c.change(&f)
			rows, err := Compare(f)
			if err != nil {
				t.Fatal(err)
			}
			err = Missed(rows)
			if (err != nil) != (c.want != "") || (err != nil && (!errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), c.want))) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if got := string(Markdown(rows, "stock", "slim")); !strings.Contains(got, c.table) {
				t.Errorf("the table is\n%s\nwant %s in it", got, c.table)
			}
		})
	}
}

func TestCompareRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*Facts)
		want   string
	}{
		"nothing":         {func(f *Facts) { *f = Facts{} }, "0 starts of the stock image and 0 of the slim one"},
		"fewer starts":    {func(f *Facts) { f.Slim.Starts = f.Slim.Starts[:2] }, "3 starts of the stock image and 2 of the slim one"},
		"no size":         {func(f *Facts) { f.Stock.DiskBytes = 0 }, "on disk was not measured"},
		"no build's time": {func(f *Facts) { f.Slim.ChangeSeconds = 0 }, "build after a one-line backend change was not measured"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			c.change(&f)
			if _, err := Compare(f); !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		starts []Start
		want   float64
	}{
		"one":  {starts(5), 10},
		"odd":  {starts(9, 1, 5), 10},
		"even": {starts(9, 1, 6, 5), 11},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := median(c.starts, func(s Start) int64 { return s.ProcessorMilliseconds }); got != c.want {
				t.Errorf("the median is %v, want %v", got, c.want)
			}
		})
	}
}
