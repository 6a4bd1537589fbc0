package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ErrIgnore says that a list of vulnerabilities to ignore cannot be used.
var ErrIgnore = errors.New("the list of vulnerabilities to ignore cannot be used")

// Ignore leaves a vulnerability out for a reason, and for a time.
type Ignore struct {
	Vulnerability string `yaml:"vulnerability"`
	// Package is the package that has it; empty means any.
	Package string `yaml:"package"`
	Reason  string `yaml:"reason"`
	// Expires is the last day of it, 2026-12-31.
	Expires string `yaml:"expires"`
}

// ReadIgnores reads a list:
//
//	ignore:
//	  - vulnerability: CVE-2026-1234
//	    package: express
//	    reason: the function is not called
//	    expires: 2026-12-31
//
// Refused is an entry without a reason or a date, and one whose time has come: it has to be looked at again.
func ReadIgnores(text []byte, now time.Time) ([]Ignore, error) {
	var file struct {
		Ignore []Ignore `yaml:"ignore"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrIgnore, err)
	}
	for n, i := range file.Ignore {
		what := fmt.Sprintf("entry %d", n+1)
		if i.Vulnerability != "" {
			what += ", " + i.Vulnerability
		}
		expires, err := time.Parse(time.DateOnly, i.Expires)
		switch {
		case i.Vulnerability == "":
			return nil, fmt.Errorf("%w: %s names no vulnerability", ErrIgnore, what)
		case strings.TrimSpace(i.Reason) == "":
			return nil, fmt.Errorf("%w: %s has no reason", ErrIgnore, what)
		case i.Expires == "":
			return nil, fmt.Errorf("%w: %s has no date on which it expires", ErrIgnore, what)
		case err != nil:
			return nil, fmt.Errorf("%w: %s expires on %q, which is no date: write 2026-12-31", ErrIgnore, what, i.Expires)
		case !now.Before(expires.AddDate(0, 0, 1)):
			return nil, fmt.Errorf("%w: %s has expired on %s: update the package, or look at it again and give it another date", ErrIgnore, what, i.Expires)
		}
	}
	return file.Ignore, nil
}
