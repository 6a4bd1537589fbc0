package bump_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	digest    = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	oldDigest = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	chart     = "name: backstage\nversion: 0.1.0\nappVersion: \"0\"\n"
)

var pin = bump.Pin{Tag: "main-0123456789ab", Digest: digest}

// TestGolden bumps the charts of testdata: each folder is a chart, each .golden what it becomes.
func TestGolden(t *testing.T) {
	t.Parallel()
	charts, err := filepath.Glob("testdata/*/" + bump.ValuesFile)
	if err != nil || len(charts) == 0 {
		t.Fatalf("no charts in testdata: %v", err)
	}
	for _, path := range charts {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			in := bump.Files{Values: read(t, path), Chart: read(t, filepath.Join(dir, bump.ChartFile))}
			out, edits, err := bump.Apply(in, pin)
			if err != nil {
				t.Fatal(err)
			}
			if len(edits) != 4 {
				t.Errorf("%d edits: %v", len(edits), edits)
			}
			golden(t, path+".golden", out.Values)
			golden(t, filepath.Join(dir, bump.ChartFile)+".golden", out.Chart)

			again, edits, err := bump.Apply(out, pin)
			if err != nil || len(edits) != 0 || !bytes.Equal(again.Values, out.Values) || !bytes.Equal(again.Chart, out.Chart) {
				t.Errorf("a second bump changed something: %v, %v", edits, err)
			}
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ in, want string }{
		"plain":                {"image:\n  tag: a\n  digest: b\n", "image:\n  tag: TAG\n  digest: DIGEST\n"},
		"double quoted":        {"image:\n  tag: \"a\"\n  digest: \"\"\n", "image:\n  tag: \"TAG\"\n  digest: \"DIGEST\"\n"},
		"single quoted":        {"image:\n  tag: 'it''s'\n  digest: ''\n", "image:\n  tag: 'TAG'\n  digest: 'DIGEST'\n"},
		"escapes":              {`image: {tag: "a\"b\\", digest: "\x41"}`, `image: {tag: "TAG", digest: "DIGEST"}`},
		"no value":             {"image:\n  tag:\n  digest:", "image:\n  tag: TAG\n  digest: DIGEST"},
		"no value but comment": {"image:\n  tag:   # t\n  digest: # d\n", "image:\n  tag: TAG   # t\n  digest: DIGEST # d\n"},
		"null":                 {"image:\n  tag: ~\n  digest: null\n", "image:\n  tag: TAG\n  digest: DIGEST\n"},
		"numbers":              {"image:\n  tag: 1.10\n  digest: 0\n", "image:\n  tag: TAG\n  digest: DIGEST\n"},
		"line comments":        {"image:\n  tag: a # tag: x\n  digest: b  # digest\n", "image:\n  tag: TAG # tag: x\n  digest: DIGEST  # digest\n"},
		"order":                {"image:\n  digest: b\n  x: 1\n  tag: a\n", "image:\n  digest: DIGEST\n  x: 1\n  tag: TAG\n"},
		"CRLF":                 {"image:\r\n  tag: a\r\n  digest: \"b\"\r\nx: 1\r\n", "image:\r\n  tag: TAG\r\n  digest: \"DIGEST\"\r\nx: 1\r\n"},
		"mixed line ends":      {"# a\r# b\nimage:\r\n  tag: a\n  digest: b\r\n", "# a\r# b\nimage:\r\n  tag: TAG\n  digest: DIGEST\r\n"},
		"unicode line ends":    {"# a\u2028# b\u0085image:\n  tag: a\u2029  digest: b\n", "# a\u2028# b\u0085image:\n  tag: TAG\u2029  digest: DIGEST\n"},
		"byte order mark":      {"\ufeffimage: {tag: a, digest: b}\n", "\ufeffimage: {tag: TAG, digest: DIGEST}\n"},
		"mark before CRLF":     {"\ufeffimage:\r\n  tag: a\r\n  digest: b", "\ufeffimage:\r\n  tag: TAG\r\n  digest: DIGEST"},
		"no final newline":     {"image:\n  tag: a\n  digest: b", "image:\n  tag: TAG\n  digest: DIGEST"},
		"flow map":             {"image: {tag: a, digest: b}\n", "image: {tag: TAG, digest: DIGEST}\n"},
		"flow map, JSON":       {`{"image":{"tag":"a","digest":""},"x":[1]}`, `{"image":{"tag":"TAG","digest":"DIGEST"},"x":[1]}`},
		"flow map, no values":  {"image: {tag: , digest: }\n", "image: {tag: TAG , digest: DIGEST }\n"},
		"flow map over lines":  {"image: {\n  tag: a, # t\n  digest: b }\n", "image: {\n  tag: TAG, # t\n  digest: DIGEST }\n"},
		"wide characters":      {"image: {'größe 日本': é, tag: ü, digest: 🙂}\n", "image: {'größe 日本': é, tag: TAG, digest: DIGEST}\n"},
		"tabs between":         {"image:\t# x\n  tag:\ta\t# t\n  digest:\tb\n", "image:\t# x\n  tag:\tTAG\t# t\n  digest:\tDIGEST\n"},
		"quoted keys":          {"\"image\":\n  'tag': a\n  \"digest\": b\n", "\"image\":\n  'tag': TAG\n  \"digest\": DIGEST\n"},
		"explicit keys":        {"? image\n: ? tag\n  : a\n  ? digest\n  : b\n", "? image\n: ? tag\n  : TAG\n  ? digest\n  : DIGEST\n"},
		"value on next line":   {"image:\n  tag:\n    a\n  digest:\n    # d\n    b\n", "image:\n  tag:\n    TAG\n  digest:\n    # d\n    DIGEST\n"},
		"document markers":     {"%YAML 1.1\n--- # first\nimage:\n  tag: a\n  digest: b\n...\n", "%YAML 1.1\n--- # first\nimage:\n  tag: TAG\n  digest: DIGEST\n...\n"},
		"anchors elsewhere":    {"x: &x {tag: 1}\ny: *x\nimage: {<<: *x, tag: a, digest: b}\n", "x: &x {tag: 1}\ny: *x\nimage: {<<: *x, tag: TAG, digest: DIGEST}\n"},
		"unused anchor":        {"image: &i\n  tag: &t a\n  digest: &d \"b\"\n", "image: &i\n  tag: &t TAG\n  digest: &d \"DIGEST\"\n"},
		"typed":                {"image:\n  tag: !!str 1.10\n  digest: !!str &d 'b'\n", "image:\n  tag: !!str TAG\n  digest: !!str &d 'DIGEST'\n"},
		"same key elsewhere":   {"tag: a\ndb:\n  image: {tag: a, digest: b}\nimage:\n  tag: a\n  digest: b\n", "tag: a\ndb:\n  image: {tag: a, digest: b}\nimage:\n  tag: TAG\n  digest: DIGEST\n"},
		"block scalar around":  {"a: |\n  image:\n    tag: a\nimage:\n  tag: a\n  digest: b\nz: >-\n  tag: a\n", "a: |\n  image:\n    tag: a\nimage:\n  tag: TAG\n  digest: DIGEST\nz: >-\n  tag: a\n"},
		"value like a comment": {"image:\n  tag: a#b\n  digest: 'b # c' # d\n", "image:\n  tag: TAG\n  digest: 'DIGEST' # d\n"},
		"tag there, digest not": {"image:\n  tag: main-0123456789ab\n  digest: b\n",
			"image:\n  tag: TAG\n  digest: DIGEST\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _, err := bump.Apply(bump.Files{Values: []byte(c.in), Chart: []byte(chart)}, pin)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("TAG", pin.Tag, "DIGEST", pin.Digest).Replace(c.want)
			if string(out.Values) != want {
				t.Errorf("got  %q\nwant %q", out.Values, want)
			}
			if now, err := bump.Read(out.Values); err != nil || now != pin {
				t.Errorf("Read = %v, %v", now, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ values, chart, want string }{
		"empty file":             {"", chart, "values.yaml: the file is empty"},
		"only a comment":         {"# nothing\n", chart, "values.yaml: the file is empty"},
		"a list":                 {"- image\n", chart, "values.yaml: the file is not a mapping"},
		"broken":                 {"image: {tag: a\n", chart, "values.yaml: yaml: line"},
		"tab as indent":          {"image:\n\ttag: a\n", chart, "cannot start any token"},
		"UTF-16":                 {"\xff\xfei\x00", chart, "values.yaml: the file is not UTF-8"},
		"control character":      {"image: {tag: a, digest: b}\nx: \x01\n", chart, "control characters are not allowed"},
		"two documents":          {"image: {tag: a, digest: b}\n---\nimage: {tag: a, digest: b}\n", chart, "more than one YAML document"},
		"empty second document":  {"image: {tag: a, digest: b}\n---\n", chart, "more than one YAML document"},
		"broken second document": {"image: {tag: a, digest: b}\n---\n{\n", chart, "values.yaml: yaml"},
		"no image":               {"x: 1\n", chart, "values.yaml:1: there is no image; add it"},
		"no tag":                 {"image: {digest: b}\n", chart, "values.yaml:1: there is no image.tag; add it (tag: \"\")"},
		"no digest":              {"image:\n  tag: a\n", chart, "values.yaml:2: there is no image.digest; add it (digest: \"\")"},
		"image is a string":      {"image: a\n", chart, "image is not a mapping, so there is no image.tag"},
		"image is empty":         {"image:\n", chart, "image is not a mapping"},
		"tag is a list":          {"image: {tag: [a], digest: b}\n", chart, "image.tag is not a single value"},
		"tag is an alias":        {"x: &x a\nimage:\n  tag: *x\n  digest: b\n", chart, "values.yaml:3: image.tag is the alias *x; write the value out"},
		"image is an alias":      {"x: &x {tag: a, digest: b}\nimage: *x\n", chart, "image is the alias *x"},
		"unknown alias":          {"image: *x\n", chart, "unknown anchor"},
		"tag is used elsewhere":  {"image:\n  tag: &t a\n  digest: b\nx: *t\n", chart, "values.yaml:2: image.tag is anchored (&t) and used again on line 4"},
		"image is used again":    {"image: &i\n  tag: a\n  digest: b\nx: {<<: *i}\n", chart, "image is anchored (&i) and used again on line 4"},
		"only by merge":          {"x: &x {tag: a}\nimage: {<<: *x, digest: b}\n", chart, "image.tag may come from a merge key"},
		"duplicate tag":          {"image:\n  tag: a\n  digest: b\n  \"tag\": c\n", chart, `values.yaml:4: the key "tag" stands on line 2 already`},
		"duplicate image":        {"image: {tag: a, digest: b}\nimage: {tag: a, digest: b}\n", chart, `the key "image" stands on line 1 already`},
		"duplicate elsewhere":    {"image: {tag: a, digest: b}\nx: [{a: 1, a: 2}]\n", chart, `the key "a" stands`},
		"literal block":          {"image:\n  tag: |-\n    a\n  digest: b\n", chart, "values.yaml:2: image.tag is a block scalar"},
		"folded block":           {"image:\n  tag: a\n  digest: >-\n    b\n", chart, "values.yaml:3: image.digest is a block scalar"},
		"plain over lines":       {"image:\n  tag: a\n    b\n  digest: b\n", chart, "image.tag spans lines"},
		"quoted over lines":      {"image:\n  tag: \"a\n    b\"\n  digest: b\n", chart, "image.tag spans lines"},
		"set, not map":           {"image: {tag, digest: b}\n", chart, "image.tag has no value and no colon"},
		"anchor without value":   {"image:\n  tag: &t\n  digest: b\n", chart, "image.tag has no value and no colon"},
		"typed as a number":      {"image:\n  tag: !!int 1\n  digest: b\n", chart, "values.yaml"},
		"chart empty":            {"image: {tag: a, digest: b}\n", "", "Chart.yaml: the file is empty"},
		"no version":             {"image: {tag: a, digest: b}\n", "appVersion: a\n", "Chart.yaml:1: there is no version"},
		"no appVersion":          {"image: {tag: a, digest: b}\n", "version: 0.1.0\n", "Chart.yaml:1: there is no appVersion"},
		"version of two numbers": {"image: {tag: a, digest: b}\n", "version: 0.1\nappVersion: a\n", `Chart.yaml:1: version "0.1": `},
		"version without end":    {"image: {tag: a, digest: b}\n", "version: 0.1.18446744073709551615\nappVersion: a\n", "cannot grow"},
		"duplicate version":      {"image: {tag: a, digest: b}\n", "version: 0.1.0\nversion: 0.1.0\n", `the key "version" stands on line 1 already`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, edits, err := bump.Apply(bump.Files{Values: []byte(c.values), Chart: []byte(c.chart)}, pin)
			if !errors.Is(err, bump.ErrChart) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %q, %v, %v\nwant an error with %q", out.Values, edits, err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// TestQuotes keeps plain style where YAML reads the tag as a string, and quotes it where it would not.
func TestQuotes(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		"1.10": `"1.10"`, "2024": `"2024"`, "1e3": `"1e3"`, "0x10": `"0x10"`, "true": `"true"`, "null": `"null"`, "no": `"no"`, "on": `"on"`, "y": `"y"`,
		"2024-01-02": `"2024-01-02"`, "1_000": `"1_000"`, "012345678901": `"012345678901"`, "0o7": `"0o7"`, "1.2.3": "1.2.3", "main-1e5": "main-1e5", "v1": "v1",
	} {
		out, edits, err := bump.Apply(bump.Files{Values: []byte("image:\n  tag: a\n  digest: b\n"), Chart: []byte(chart)}, bump.Pin{Tag: tag, Digest: digest})
		if err != nil {
			t.Errorf("%s: %v", tag, err)
			continue
		}
		if got := strings.TrimPrefix(strings.Split(string(out.Values), "\n")[1], "  tag: "); got != want {
			t.Errorf("tag %s is written %s; want %s", tag, got, want)
		}
		if edits[0].After != tag {
			t.Errorf("edit %v; want %s", edits[0], tag)
		}
	}
}

// TestNumberIsNotTheTag: the number 1.10 is 1.1 for Helm, so a chart that holds it does not name the tag 1.10 yet.
func TestNumberIsNotTheTag(t *testing.T) {
	t.Parallel()
	in := bump.Files{Values: []byte("image:\n  tag: 1.10\n  digest: " + digest + "\n"), Chart: []byte(chart)}
	out, edits, err := bump.Apply(in, bump.Pin{Tag: "1.10", Digest: digest})
	if err != nil || len(edits) == 0 || !strings.Contains(string(out.Values), `tag: "1.10"`) {
		t.Errorf("%q, %v, %v", out.Values, edits, err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0.1.0": "0.1.1", "\"1.2.9\"": "\"1.2.10\"", "'10.0.99'": "'10.0.100'", "1.0.0-rc.1": "1.0.0", "1.0.0+x": "1.0.1",
	} {
		out, _, err := bump.Apply(bump.Files{
			Values: []byte("image: {tag: a, digest: b}"),
			Chart:  []byte("version: " + in + " # ours\nappVersion: a\n"),
		}, pin)
		if wantChart := "version: " + want + " # ours\nappVersion: " + pin.Tag + "\n"; err != nil || string(out.Chart) != wantChart {
			t.Errorf("%s: got %q, %v; want %q", in, out.Chart, err, wantChart)
		}
	}
}

func TestPinIsChecked(t *testing.T) {
	t.Parallel()
	for _, p := range []bump.Pin{{Tag: "", Digest: digest}, {Tag: "a b", Digest: digest}, {Tag: "a"}, {Tag: "a", Digest: "sha256:1"}, {Tag: "a\nb: c", Digest: digest}} {
		if _, _, err := bump.Apply(bump.Files{Values: []byte("image: {tag: a, digest: b}"), Chart: []byte(chart)}, p); err == nil {
			t.Errorf("%q is accepted", p)
		}
	}
}

func TestDir(t *testing.T) {
	t.Parallel()
	values := "image:\n  tag: a # t\n  digest: " + oldDigest + "\n"
	write := func(t *testing.T) string {
		dir := t.TempDir()
		for name, text := range map[string]string{bump.ValuesFile: values, bump.ChartFile: chart} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	names := func(t *testing.T, dir string) string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, e := range entries {
			s = append(s, e.Name())
		}
		return strings.Join(s, " ")
	}

	t.Run("edits both files once", func(t *testing.T) {
		t.Parallel()
		dir := write(t)
		edits, err := bump.Dir(dir, pin)
		if err != nil || len(edits) != 4 {
			t.Fatalf("%v, %v", edits, err)
		}
		want := bump.Edit{File: "values.yaml", Path: "image.digest", Before: oldDigest, After: digest}
		if edits[1] != want {
			t.Errorf("got %v; want %v", edits[1], want)
		}
		if edits, err = bump.Dir(dir, pin); err != nil || len(edits) != 0 {
			t.Errorf("second bump: %v, %v", edits, err)
		}
		info, err := os.Stat(filepath.Join(dir, bump.ValuesFile))
		if err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if got := names(t, dir); got != "Chart.yaml values.yaml" {
			t.Errorf("left behind: %s", got)
		}
	})
	t.Run("a refused file leaves the other alone", func(t *testing.T) {
		t.Parallel()
		dir := write(t)
		if err := os.WriteFile(filepath.Join(dir, bump.ChartFile), []byte("version: x\nappVersion: y\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := bump.Dir(dir, pin); !errors.Is(err, bump.ErrChart) {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(dir, bump.ValuesFile)); string(got) != values {
			t.Errorf("values changed: %s", got)
		}
	})
	t.Run("no chart", func(t *testing.T) {
		t.Parallel()
		if _, err := bump.Dir(t.TempDir(), pin); !errors.Is(err, bump.ErrChart) || !strings.Contains(err.Error(), "there is no values.yaml") {
			t.Error(err)
		}
	})
	t.Run("a link is not followed", func(t *testing.T) {
		t.Parallel()
		dir := write(t)
		target := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.Rename(filepath.Join(dir, bump.ValuesFile), target); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, bump.ValuesFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := bump.Dir(dir, pin); !errors.Is(err, bump.ErrChart) || !strings.Contains(err.Error(), "not a regular file") {
			t.Error(err)
		}
	})
}

// TestProjectsChart: the chart of this project can be bumped, and the bump changes four of its lines.
func TestProjectsChart(t *testing.T) {
	t.Parallel()
	const dir = "../../charts/backstage/"
	in := bump.Files{Values: read(t, dir+bump.ValuesFile), Chart: read(t, dir+bump.ChartFile)}
	out, edits, err := bump.Apply(in, pin)
	if err != nil || len(edits) != 4 {
		t.Fatalf("%v, %v", edits, err)
	}
	changed := 0
	for _, f := range [][2][]byte{{in.Values, out.Values}, {in.Chart, out.Chart}} {
		before, after := strings.Split(string(f[0]), "\n"), strings.Split(string(f[1]), "\n")
		if len(before) != len(after) {
			t.Fatalf("%d lines became %d", len(before), len(after))
		}
		for n := range before {
			if before[n] != after[n] {
				changed++
			}
		}
	}
	if changed != 4 {
		t.Errorf("%d lines changed", changed)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := read(t, path); !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update and look at the change):\n%s", path, got)
	}
}

// A file of any name is edited like a chart's values, and named in what is wrong with it.
func TestFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "prod.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# kept\nimage: {tag: a, digest: ''} # kept\n")
	edits, err := bump.File(file, pin)
	if err != nil || len(edits) != 2 || edits[0].File != "prod.yaml" || edits[0].Before != "a" {
		t.Fatalf("edits %v, %v", edits, err)
	}
	want := "# kept\nimage: {tag: " + pin.Tag + ", digest: '" + digest + "'} # kept\n"
	if got := string(read(t, file)); got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if edits, err := bump.File(file, pin); err != nil || len(edits) != 0 {
		t.Errorf("a second time: %v, %v", edits, err)
	}
	write("image: {tag: a}\n")
	if _, err := bump.File(file, pin); !errors.Is(err, bump.ErrChart) || !strings.Contains(err.Error(), "prod.yaml:1: there is no image.digest") {
		t.Errorf("error %v names neither file nor key", err)
	}
	if _, err := bump.File(filepath.Join(filepath.Dir(file), "qa.yaml"), pin); !errors.Is(err, bump.ErrChart) || !strings.Contains(err.Error(), "no qa.yaml") {
		t.Errorf("error %v of a file that is not there", err)
	}
	if _, err := bump.File(file, bump.Pin{Tag: "a b", Digest: digest}); err == nil {
		t.Error("a tag that is none is taken")
	}
}
