package bump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document is one parsed YAML file together with its text: the parser finds the place of a scalar, the text is what
// is edited.
type document struct {
	file string
	text []byte
	root *yaml.Node
	// lines holds the offset of each line's first byte.
	lines []int
	// aliased are the nodes that an alias somewhere in the file stands for.
	aliased map[*yaml.Node]int
}

// scalar is a place in a document: text[start:end] is the value as it is written, quotes included.
type scalar struct {
	line       int
	start, end int
	style      yaml.Style
	// bare says that the key has no value at all (`digest:`), so that one is inserted after the colon.
	bare bool
	// text says that YAML reads the value as a string; 1.10 without quotes is the number 1.1.
	text  bool
	value string
}

type change struct {
	path  []string
	value string
}

// edit replaces scalars in text and proves the result: it parses, the scalars have their new values, and all other
// nodes are what they were.
func edit(file string, text []byte, changes ...change) ([]byte, []Edit, error) {
	doc, err := parse(file, text)
	if err != nil {
		return nil, nil, err
	}
	type splice struct {
		scalar
		text string
	}
	var (
		splices []splice
		edits   []Edit
		targets = map[*yaml.Node]string{}
	)
	for _, c := range changes {
		node, err := doc.find(c.path)
		if err != nil {
			return nil, nil, err
		}
		s, err := doc.locate(node, strings.Join(c.path, "."))
		if err != nil {
			return nil, nil, err
		}
		targets[node] = c.value
		edits = append(edits, Edit{File: file, Path: strings.Join(c.path, "."), Before: s.value, After: c.value})
		if s.value != c.value || !s.text {
			splices = append(splices, splice{scalar: s, text: write(s, c.value)})
		}
	}
	slices.SortFunc(splices, func(a, b splice) int { return a.start - b.start })
	var out bytes.Buffer
	at := 0
	for _, s := range splices {
		out.Write(text[at:s.start])
		out.WriteString(s.text)
		at = s.end
	}
	out.Write(text[at:])

	after, err := parse(file, out.Bytes())
	if err != nil {
		return nil, nil, fmt.Errorf("edited: %w", err)
	}
	if !same(doc.root, after.root, targets) {
		return nil, nil, fmt.Errorf("%w: %s: the edit would change more than %s; write these as plain one-line values", ErrChart, file, paths(changes))
	}
	return out.Bytes(), edits, nil
}

func paths(changes []change) string {
	var s []string
	for _, c := range changes {
		s = append(s, strings.Join(c.path, "."))
	}
	return strings.Join(s, " and ")
}

// parse reads a file that holds exactly one document, a mapping without duplicate keys.
func parse(file string, text []byte) (*document, error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", ErrChart, file, fmt.Errorf(format, args...))
	}
	if !utf8.Valid(text) {
		return nil, refuse("the file is not UTF-8")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, refuse("the file is empty")
	case err != nil:
		return nil, refuse("%w", err)
	}
	switch err := dec.Decode(new(yaml.Node)); {
	case err == nil:
		return nil, refuse("the file holds more than one YAML document; keep the first and remove the rest")
	case !errors.Is(err, io.EOF):
		return nil, refuse("%w", err)
	}
	doc := &document{file: file, text: text, root: &root, lines: lineStarts(text), aliased: map[*yaml.Node]int{}}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return nil, refuse("the file is not a mapping")
	}
	if err := doc.inspect(&root); err != nil {
		return nil, err
	}
	return doc, nil
}

// inspect refuses duplicate keys anywhere, and notes what aliases refer to.
func (d *document) inspect(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		d.aliased[n.Alias] = n.Line
		return nil
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if first, ok := seen[key.Value]; ok {
				return d.refuse(key, "the key %q stands on line %d already; remove one of the two", key.Value, first)
			}
			seen[key.Value] = key.Line
		}
	}
	for _, c := range n.Content {
		if err := d.inspect(c); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) refuse(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%w: %s:%d: %s", ErrChart, d.file, n.Line, fmt.Sprintf(format, args...))
}

// scalar finds a scalar and where it is written.
func (d *document) scalar(path ...string) (scalar, error) {
	n, err := d.find(path)
	if err != nil {
		return scalar{}, err
	}
	return d.locate(n, strings.Join(path, "."))
}

// find walks the mappings down to a scalar. It follows no alias and no merge key: what stands there is shared with
// other parts of the file, and an edit would change those as well.
func (d *document) find(path []string) (*yaml.Node, error) {
	n := d.root.Content[0]
	for i, key := range path {
		name := strings.Join(path[:i+1], ".")
		value := lookup(n, key)
		if value == nil {
			if lookup(n, "<<") != nil {
				return nil, d.refuse(n, "%s may come from a merge key (<<) only; write it out in its own mapping", name)
			}
			return nil, d.refuse(n, "there is no %s; add it (%s: \"\")", name, key)
		}
		last := i == len(path)-1
		switch {
		case value.Kind == yaml.AliasNode:
			return nil, d.refuse(value, "%s is the alias *%s; write the value out, an edit would change what it stands for elsewhere", name, value.Value)
		case d.aliased[value] != 0:
			return nil, d.refuse(value, "%s is anchored (&%s) and used again on line %d; write the value out there, an edit would change both", name, value.Anchor, d.aliased[value])
		case last && value.Kind != yaml.ScalarNode:
			return nil, d.refuse(value, "%s is not a single value", name)
		case !last && value.Kind != yaml.MappingNode:
			return nil, d.refuse(value, "%s is not a mapping, so there is no %s", name, strings.Join(path, "."))
		}
		n = value
	}
	return n, nil
}

func lookup(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if k := mapping.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// locate finds the bytes of a scalar from the parser's line and column, and checks that they are what it read.
func (d *document) locate(n *yaml.Node, name string) (scalar, error) {
	s := scalar{line: n.Line, value: n.Value, text: isString(n)}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return s, d.refuse(n, "%s is a block scalar; write it on one line", name)
	}
	at, ok := d.offset(n.Line, n.Column)
	if !ok {
		return s, d.refuse(n, "%s: its place in the file is unclear; write it on one line", name)
	}
	at = skipProperties(d.text, at)
	rest := d.text[at:]
	unclear := d.refuse(n, "%s spans lines or is written in an unusual way; write it on one line", name)
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		s.style = yaml.DoubleQuotedStyle
		s.end = at + quoted(rest, '"', '\\')
	case n.Style&yaml.SingleQuotedStyle != 0:
		s.style = yaml.SingleQuotedStyle
		s.end = at + quoted(rest, '\'', 0)
	case n.Value == "":
		// In a flow mapping the parser gives the place of what follows the missing value.
		for at > 0 && (d.text[at-1] == ' ' || d.text[at-1] == '\t') {
			at--
		}
		if at == 0 || d.text[at-1] != ':' {
			return s, d.refuse(n, "%s has no value and no colon of its own; write %s: \"\"", name, name[strings.LastIndexByte(name, '.')+1:])
		}
		s.bare, s.end = true, at
	default:
		if !bytes.HasPrefix(rest, []byte(n.Value)) {
			return s, unclear
		}
		s.end = at + len(n.Value)
	}
	s.start = at
	if !s.bare && s.end <= s.start {
		return s, unclear
	}
	if n.ShortTag() == "!!null" {
		s.value = ""
	}
	return s, nil
}

// offset turns the parser's position (lines and characters, from 1) into bytes.
func (d *document) offset(line, column int) (int, bool) {
	if line < 1 || line > len(d.lines) || column < 1 {
		return 0, false
	}
	at := d.lines[line-1]
	for range column - 1 {
		if at >= len(d.text) {
			return 0, false
		}
		_, size := utf8.DecodeRune(d.text[at:])
		at += size
	}
	return at, true
}

// lineStarts splits as the YAML scanner does: at CRLF, CR, LF, NEL, LS and PS. A byte order mark is in front of line 1.
func lineStarts(text []byte) []int {
	at := 0
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		at = len("\ufeff")
	}
	starts := []int{at}
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		at += size
		switch r {
		case '\r':
			if at < len(text) && text[at] == '\n' {
				at++
			}
		case '\n', '\u0085', '\u2028', '\u2029':
		default:
			continue
		}
		starts = append(starts, at)
	}
	return starts
}

// skipProperties passes the anchor and the tag in front of a value on the same line.
func skipProperties(text []byte, at int) int {
	for at < len(text) && (text[at] == '&' || text[at] == '!') {
		end := at
		for end < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[end])) {
			end++
		}
		next := end
		for next < len(text) && (text[next] == ' ' || text[next] == '\t') {
			next++
		}
		if next == end {
			return end
		}
		at = next
	}
	return at
}

// quoted is the length of the quoted scalar that text starts with, 0 where it does not end on its line.
func quoted(text []byte, quote, escape byte) int {
	if len(text) == 0 || text[0] != quote {
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n' || c == '\r':
			return 0
		case escape != 0 && c == escape:
			i++
		case c == quote && escape == 0 && i+1 < len(text) && text[i+1] == quote:
			i++
		case c == quote:
			return i + 1
		}
	}
	return 0
}

// write renders a value in the style the scalar had. A plain scalar gets quotes only where YAML would read the new
// value as something else than a string: the tag 1.10 is not the number 1.1.
func write(s scalar, value string) string {
	switch {
	case s.style == yaml.DoubleQuotedStyle:
		return `"` + value + `"`
	case s.style == yaml.SingleQuotedStyle:
		return `'` + value + `'`
	}
	if plain, err := yaml.Marshal(value); err != nil || string(plain) != value+"\n" {
		value = `"` + value + `"`
	}
	if s.bare {
		value = " " + value
	}
	return value
}

func isString(n *yaml.Node) bool { return n.ShortTag() == "!!str" }

// same compares two trees; the targets of the first must be strings with their new values in the second.
func same(a, b *yaml.Node, targets map[*yaml.Node]string) bool {
	if want, ok := targets[a]; ok {
		return b.Kind == yaml.ScalarNode && isString(b) && b.Value == want && a.Anchor == b.Anchor
	}
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Anchor != b.Anchor || a.Style != b.Style ||
		len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i], targets) {
			return false
		}
	}
	return true
}
