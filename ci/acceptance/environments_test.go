package acceptance

import "testing"

// Promotions, rollbacks and comments that are refused before GitHub is asked for anything; ci/workflows/act has those that are not.
func TestEnvironmentsRefused(t *testing.T) {
	t.Parallel()
	const remote = `remote: "https://github.com/nobody/nothing.git", token: $token`
	for name, c := range map[string]struct{ call, want string }{
		"an environment is skipped":   {`pushPromotion(from: "dev", to: "prod", ` + remote + `)`, "staging comes between dev and prod"},
		"an environment is unknown":   {`pushPromotion(from: "dev", to: "test", ` + remote + `)`, `"test"`},
		"another way to commit":       {`pushPromotion(from: "dev", to: "staging", commitBy: "mail", ` + remote + `)`, `--commit-by is "mail": it can be github or pull-request`},
		"another way to roll back":    {`rollback(commitBy: "mail", ` + remote + `)`, `--commit-by is "mail": it can be git, github or pull-request`},
		"tags that are to be left":    {`rollback(finish: true, moveTags: false, ` + remote + `)`, "--finish gives tags back, and --move-tags=false says not to: leave one out"},
		"a comment without a remote":  {`diff(pullRequest: 7, token: $token)`, "--pull-request wants --remote"},
		"a comparison with no commit": {`diff(base: "nope", ` + remote + `)`, `--base "nope" is no commit of the checkout`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := call[map[string]string](t, module{}, c.call, secret(t, "token", "canary-token"))
			refused(t, err, c.want)
		})
	}
}
