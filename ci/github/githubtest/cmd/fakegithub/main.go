// Command fakegithub serves a GitHub of package githubtest until it is interrupted, for workflows that run on this
// machine. The token of everybody is read from GITOPS_TOKEN.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/golang-jwt/jwt/v4"

	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "fakegithub: %s\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var (
		flags     = flag.NewFlagSet("fakegithub", flag.ContinueOnError)
		root      = flags.String("root", "", "the folder of the repositories")
		create    = flags.String("create", "", "make these repositories where they are missing, OWNER/NAME,…")
		listen    = flags.String("listen", "127.0.0.1:8080", "the address to listen on")
		protected = flags.String("protected", "", "branches that take pull requests only, with commas between them")
		granted   = flags.String("permissions", "contents=write,pull_requests=write,actions=write", "what the token and the App may do, NAME=LEVEL,…")
		appKey    = flags.String("app-key", "", "the file of the public key of the GitHub App 7, whose installation is 9, PEM")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	token := os.Getenv("GITOPS_TOKEN")
	if *root == "" || token == "" {
		return errors.New("give --root, and a token as GITOPS_TOKEN")
	}
	permissions := map[string]string{}
	for _, p := range split(*granted) {
		name, level, _ := strings.Cut(p, "=")
		permissions[name] = level
	}
	c := githubtest.Config{
		Root: *root, Repositories: split(*create), AutoMerge: true, Protected: map[string]string{},
		Tokens: []githubtest.Token{{
			Value: token, Login: "github-actions[bot]", Bot: true, Permissions: permissions,
		}},
	}
	if *appKey != "" {
		text, err := os.ReadFile(*appKey)
		if err != nil {
			return err
		}
		key, err := jwt.ParseRSAPublicKeyFromPEM(text)
		if err != nil {
			return fmt.Errorf("%s: %w", *appKey, err)
		}
		c.Apps = []githubtest.App{{ID: 7, Installation: 9, Key: key, Permissions: permissions}}
	}
	for _, branch := range split(*protected) {
		c.Protected[branch] = "Repository rule violations found: Changes must be made through a pull request."
	}
	s, err := githubtest.New(ctx, c)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	slog.Info("serving", "root", *root, "address", l.Addr().String())
	return gitserver.Serve(ctx, l, s)
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
