package bump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// FuzzBump holds for every pair of files: the bump is refused with one line, or the four scalars have their new
// values, every byte outside of them is what it was, and the bump of the result changes nothing.
func FuzzBump(f *testing.F) {
	const chart = "version: 0.1.0\nappVersion: a\n"
	for _, values := range []string{
		"image:\n  tag: a\n  digest: b\n",
		"\ufeffimage:\r\n  tag: \"a\" # t\r\n  digest:\r\n",
		"image: {tag: 'a''b', digest: , x: *a}",
		"x: &x {y: 1}\nimage: {<<: *x, tag: &t a, digest: !!str \"\\x41\"}\n",
		"image:\n  tag: |\n    a\n  digest: >-\n    b\n",
		"? image\n: ? tag\n  : 1.10\n  ? digest\n  : ~\n",
		"%YAML 1.1\n--- # x\nimage:\u2028  tag:\ta\u0085  digest:\n    # c\n    b\n...\n",
		"- a\n---\n{",
	} {
		f.Add([]byte(values), []byte(chart), "main-0123456789ab")
	}
	f.Add([]byte("image: {tag: 1.1, digest: b}"), []byte("{\"version\":\"1.2.3-rc.1+x\",\"appVersion\":1.0}"), "1.10")

	f.Fuzz(func(t *testing.T, values, chart []byte, tag string) {
		pin := Pin{Tag: tag, Digest: "sha256:" + strings.Repeat("0a", 32)}
		if pin.Check() != nil {
			return
		}
		in := Files{Values: bytes.Clone(values), Chart: bytes.Clone(chart)}
		out, edits, err := Apply(in, pin)
		if !bytes.Equal(in.Values, values) || !bytes.Equal(in.Chart, chart) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			if !errors.Is(err, ErrChart) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if len(edits) == 0 {
			if !bytes.Equal(out.Values, values) || !bytes.Equal(out.Chart, chart) {
				t.Fatal("no edit is reported, but bytes changed")
			}
			return
		}
		before := value(t, chart, "version")
		next, err := nextPatch(before)
		if err != nil {
			t.Fatalf("version %q was accepted: %v", before, err)
		}
		checkFile(t, values, out.Values, map[string]string{"image.tag": pin.Tag, "image.digest": pin.Digest})
		checkFile(t, chart, out.Chart, map[string]string{"version": next, "appVersion": pin.Tag})

		again, edits, err := Apply(out, pin)
		if err != nil || len(edits) != 0 || !bytes.Equal(again.Values, out.Values) || !bytes.Equal(again.Chart, out.Chart) {
			t.Fatalf("a second bump changed something: %v, %v", edits, err)
		}
	})
}

// checkFile cuts the scalars out of both texts, by places found in each text on its own, and compares the rest.
func checkFile(t *testing.T, before, after []byte, want map[string]string) {
	t.Helper()
	for path, v := range want {
		if got := value(t, after, path); got != v {
			t.Fatalf("%s is %q; want %q\n%q", path, got, v, after)
		}
	}
	if a, b := without(t, before, want), without(t, after, want); a != b {
		t.Fatalf("bytes outside of the scalars changed:\n%q\n%q", before, after)
	}
}

func without(t *testing.T, text []byte, want map[string]string) string {
	t.Helper()
	doc, err := parse("f", text)
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.Clone(text)
	for path := range want {
		s, err := doc.scalar(strings.Split(path, ".")...)
		if err != nil {
			t.Fatal(err)
		}
		start := s.start
		if !s.bare && start > 0 && text[start-1] == ' ' && start > 1 && text[start-2] == ':' {
			start-- // a value put where there was none brings its space along
		}
		for i := start; i < s.end; i++ {
			cut[i] = 0
		}
	}
	return string(bytes.ReplaceAll(cut, []byte{0}, nil))
}

// value decodes with the library's own decoder, which knows nothing of the places this package computes.
func value(t *testing.T, text []byte, path string) string {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatalf("does not parse: %v\n%q", err, text)
	}
	for _, key := range strings.Split(path, ".") {
		switch m := v.(type) {
		case map[string]any:
			v = m[key]
		case map[any]any:
			v = m[key]
		}
	}
	s, _ := v.(string)
	return s
}
