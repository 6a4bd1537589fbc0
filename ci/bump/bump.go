// Package bump points a Helm chart at an image by editing four scalars, byte for byte: image.tag and image.digest of
// values.yaml, appVersion and version of Chart.yaml. Comments, order, quoting and line ends stay as they are.
package bump

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

const (
	// ValuesFile and ChartFile are the files of a chart that a bump edits.
	ValuesFile = "values.yaml"
	ChartFile  = "Chart.yaml"
)

// ErrChart says that a chart cannot be bumped as it stands; the message says where and what to change.
var ErrChart = errors.New("cannot bump the chart")

// Pin is the image a chart is to name.
type Pin struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
}

// Files are the two files of a chart.
type Files struct {
	Values []byte
	Chart  []byte
}

// Edit is one scalar before and after.
type Edit struct {
	File   string `json:"file"`
	Path   string `json:"path"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Check refuses a pin whose tag or digest is invalid.
func (p Pin) Check() error {
	return errors.Join(imageref.CheckTag(p.Tag), imageref.CheckDigest(p.Digest))
}

// Read returns the pin that a chart names now. Both parts may be empty.
func Read(values []byte) (Pin, error) {
	return ReadAs(ValuesFile, values)
}

// ReadAs is Read for values in a file of another name, which errors give.
func ReadAs(file string, values []byte) (Pin, error) {
	tag, digest, err := pinned(file, values)
	return Pin{Tag: tag.value, Digest: digest.value}, err
}

// Repository returns the image's name in a chart's values, image.repository.
func Repository(values []byte) (string, error) {
	doc, err := parse(ValuesFile, values)
	if err != nil {
		return "", err
	}
	repository, err := doc.scalar("image", "repository")
	return repository.value, err
}

// Version returns the version of a Chart.yaml.
func Version(chart []byte) (string, error) {
	doc, err := parse(ChartFile, chart)
	if err != nil {
		return "", err
	}
	v, err := doc.scalar("version")
	return v.value, err
}

// AppVersion returns the appVersion of a Chart.yaml, the tag of the image that was released last.
func AppVersion(chart []byte) (string, error) {
	doc, err := parse(ChartFile, chart)
	if err != nil {
		return "", err
	}
	v, err := doc.scalar("appVersion")
	return v.value, err
}

// Names says whether a chart's values name the pin already, so that there is nothing to edit.
func Names(values []byte, p Pin) (bool, error) {
	return names(ValuesFile, values, p)
}

func names(file string, values []byte, p Pin) (bool, error) {
	tag, digest, err := pinned(file, values)
	return tag.text && digest.text && Pin{Tag: tag.value, Digest: digest.value} == p, err
}

func pinned(file string, values []byte) (tag, digest scalar, err error) {
	doc, err := parse(file, values)
	if err != nil {
		return scalar{}, scalar{}, err
	}
	if tag, err = doc.scalar("image", "tag"); err != nil {
		return scalar{}, scalar{}, err
	}
	if digest, err = doc.scalar("image", "digest"); err != nil {
		return scalar{}, scalar{}, err
	}
	return tag, digest, nil
}

// Apply returns the files with the pin in place and the version one patch higher, and what changed. A chart that
// names the pin already is returned as it is, with no edit.
func Apply(f Files, p Pin) (Files, []Edit, error) {
	if err := p.Check(); err != nil {
		return Files{}, nil, err
	}
	if there, err := Names(f.Values, p); err != nil || there {
		return f, nil, err
	}
	chart, err := parse(ChartFile, f.Chart)
	if err != nil {
		return Files{}, nil, err
	}
	version, err := chart.scalar("version")
	if err != nil {
		return Files{}, nil, err
	}
	next, err := nextPatch(version.value)
	if err != nil {
		return Files{}, nil, fmt.Errorf("%w: %s:%d: version %q: %w", ErrChart, ChartFile, version.line, version.value, err)
	}

	values, edits, err := pin(ValuesFile, f.Values, p)
	if err != nil {
		return Files{}, nil, err
	}
	meta, more, err := edit(ChartFile, f.Chart,
		change{path: []string{"version"}, value: next},
		change{path: []string{"appVersion"}, value: p.Tag},
	)
	if err != nil {
		return Files{}, nil, err
	}
	return Files{Values: values, Chart: meta}, append(edits, more...), nil
}

func pin(file string, values []byte, p Pin) ([]byte, []Edit, error) {
	return edit(file, values,
		change{path: []string{"image", "tag"}, value: p.Tag},
		change{path: []string{"image", "digest"}, value: p.Digest},
	)
}

// Bumpable refuses a chart that Apply would refuse, whatever the pin.
func Bumpable(f Files) error {
	_, _, err := Apply(f, Pin{Tag: "probe", Digest: "sha256:" + strings.Repeat("0", 64)})
	return err
}

// nextPatch is the version that follows: 0.1.0 → 0.1.1, and 1.0.0-rc.1 → 1.0.0.
func nextPatch(s string) (string, error) {
	v, err := semver.StrictNewVersion(s)
	if err != nil {
		return "", fmt.Errorf("%w; a chart's version is MAJOR.MINOR.PATCH", err)
	}
	if v.Patch() == math.MaxUint64 {
		return "", errors.New("the patch number cannot grow further")
	}
	next := v.IncPatch()
	return next.String(), nil
}
