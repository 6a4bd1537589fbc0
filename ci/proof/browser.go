package proof

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"
)

// screenshot is the file in the folder of the proof.
const screenshot = "portal.png"

// inBrowser has somebody who was never here visit the portal in a tab of a real browser.
func (s *Session) inBrowser(ctx context.Context, visit func(context.Context) error) error {
	ctx, cancel := remote.NewAllocator(ctx, s.Browser)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	err := chromedp.Do(ctx)
	if err == nil {
		// A proof before this one, of a branch that has moved since, has signed in to the same browser.
		ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
		defer cancel()
		// The tab is of this context, and stays when a shorter one ends.
		err = chromedp.Do(ctx)
	}
	if err != nil {
		return fmt.Errorf("open a tab in the browser at %s: %w", s.Browser, err)
	}
	return visit(ctx)
}

// browse signs in as a guest in a real browser, opens the catalog and takes a picture.
func (s *Session) browse(ctx context.Context) (string, error) {
	err := s.inBrowser(ctx, func(ctx context.Context) error {
		failure := s.signInAsGuest(ctx)
		// Of a failure too: what the portal shows then is evidence.
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(filepath.Join(s.Out, screenshot), picture, 0o644)
		}
		if failure != nil {
			return fmt.Errorf("sign in as guest and see the catalog at %s: %w", s.Ingress, failure)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return "a guest signs in and sees backstage-backend and release-toolchain in the catalog; " + screenshot, nil
}

// signInAsGuest ends at the catalog.
func (s *Session) signInAsGuest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return chromedp.Do(ctx,
		chromedp.EmulateViewport(1280, 900),
		chromedp.Navigate(s.Ingress),
		chromedp.Click(chromedp.Search(`//button[normalize-space(.)="Enter"]`)),
		chromedp.WaitVisible(chromedp.Search(`//a[contains(@href, "/component/backstage-backend")]`)),
		chromedp.WaitVisible(chromedp.Search(`//a[contains(@href, "/component/release-toolchain")]`)),
	)
}

// pictured says whether there is a picture.
func (s *Session) pictured() bool {
	_, err := os.Stat(filepath.Join(s.Out, screenshot))
	return err == nil
}
