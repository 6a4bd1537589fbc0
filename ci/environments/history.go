package environments

import (
	"context"
	"path"
	"strconv"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// historyLimit is how many changes of the chart's values are looked at.
const historyLimit = 500

// History reads from Git what releases have named so far, the latest first.
func (c *Checkout) History(ctx context.Context) ([]bump.Pin, error) {
	repo := git.Open(c.dir)
	values := path.Join(c.Chart, bump.ValuesFile)
	out, err := repo.Run(ctx, "log", "--format=%H", "--max-count="+strconv.Itoa(historyLimit), "HEAD", "--", values)
	if err != nil {
		return nil, err
	}
	var pins []bump.Pin
	for _, commit := range strings.Fields(out) {
		text, err := repo.Do(ctx, git.Command{Args: []string{"show", commit + ":" + values}})
		if err != nil {
			continue // it was not there yet
		}
		// A chart of long ago may have been written in another way; it says nothing then.
		if pin, err := bump.Read(text); err == nil && pin.Digest != "" && (len(pins) == 0 || pins[len(pins)-1] != pin) {
			pins = append(pins, pin)
		}
	}
	return pins, nil
}
