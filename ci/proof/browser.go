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

// browse signs in as a guest in a real browser, opens the catalog and takes a picture.
func (s *Session) browse(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx, cancel = remote.NewAllocator(ctx, s.Browser)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	picture, err := s.signedIn(ctx)
	if err != nil {
		return "", fmt.Errorf("sign in as guest and see the catalog at %s: %w", s.Ingress, err)
	}
	if err := os.MkdirAll(s.Out, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(s.Out, screenshot), picture, 0o644); err != nil {
		return "", err
	}
	return "a guest signs in and sees backstage-backend and release-toolchain in the catalog; " + screenshot, nil
}

// signedIn is a picture of the catalog as a guest sees it.
func (s *Session) signedIn(ctx context.Context) ([]byte, error) {
	if err := chromedp.Do(ctx,
		chromedp.EmulateViewport(1280, 900),
		chromedp.Navigate(s.Ingress),
		chromedp.Click(chromedp.Search(`//button[normalize-space(.)="Enter"]`)),
		chromedp.WaitVisible(chromedp.Search(`//a[normalize-space(.)="backstage-backend"]`)),
		chromedp.WaitVisible(chromedp.Search(`//a[normalize-space(.)="release-toolchain"]`)),
	); err != nil {
		return nil, err
	}
	return chromedp.Run(ctx, chromedp.CaptureScreenshot())
}

// pictured says whether there is a picture.
func (s *Session) pictured() bool {
	_, err := os.Stat(filepath.Join(s.Out, screenshot))
	return err == nil
}
