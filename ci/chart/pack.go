package chart

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
)

// Package writes the chart in dir as NAME-VERSION.tgz into out, which it creates, and returns the file's path. The
// same chart at the same time gives the same bytes: Helm stamps each entry with the moment of packaging, which becomes
// modTime, for a release that of its source commit. An existing file is replaced at the end or not at all.
func Package(ctx context.Context, dir, out string, modTime time.Time) (string, error) {
	c, err := load(ctx, dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("package %s: %w", c.Name(), err)
	}
	stage, err := os.MkdirTemp(out, ".package-*")
	if err != nil {
		return "", fmt.Errorf("package %s: %w", c.Name(), err)
	}
	defer os.RemoveAll(stage)

	stamped, err := chartutil.Save(c, stage)
	if err != nil {
		return "", fmt.Errorf("package %s: %w", c.Name(), err)
	}
	normalised := stamped + ".normalised"
	if err := normalise(normalised, stamped, modTime); err != nil {
		return "", fmt.Errorf("package %s: %w", c.Name(), err)
	}
	target := filepath.Join(out, filepath.Base(stamped))
	if err := os.Rename(normalised, target); err != nil {
		return "", fmt.Errorf("package %s: %w", c.Name(), err)
	}
	return target, nil
}

// normalise copies a gzipped tar and gives every entry the same time.
func normalise(to, from string, modTime time.Time) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	unzipper, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()

	zipper := gzip.NewWriter(out)
	// Helm's own mark, by which it is known as a chart; no time, no name.
	zipper.Extra, zipper.Comment = unzipper.Extra, unzipper.Comment
	source, target := tar.NewReader(unzipper), tar.NewWriter(zipper)
	for {
		entry, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := target.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg,
			Name:     entry.Name,
			Mode:     entry.Mode,
			Size:     entry.Size,
			ModTime:  modTime.UTC().Truncate(time.Second),
			Format:   tar.FormatPAX,
		}); err != nil {
			return err
		}
		if _, err := io.Copy(target, source); err != nil {
			return err
		}
	}
	if err := target.Close(); err != nil {
		return err
	}
	return zipper.Close()
}
