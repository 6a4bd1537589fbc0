// Build a Backstage portal, publish it as a slim image and release it by Git.
//
// `dagger call release` turns the checkout's HEAD into an image in a registry
// and a commit that points the Helm chart at that image, by digest. Without
// arguments both go to services that run inside the engine; `--image` and
// `--remote` send the same release to real ones.
package main

import (
	"cmp"

	"dagger/backstage-gitops/internal/dagger"
)

// project is the address of this one's repository.
const project = "https://github.com/backstage-gitops/backstage-gitops"

// BackstageGitops is a checkout of a portal with its chart.
type BackstageGitops struct {
	// +private
	Checkout *dagger.Directory
	// What is released: the checkout, as git sees it.
	// +private
	Repo *dagger.Directory
	// +private
	Source *dagger.Directory
	// The app's own checkout, where it is not in this one.
	// +private
	AppRepo *dagger.Directory
	// +private
	URL string
	// Whether the embedded registry and Git remote start empty and are forgotten.
	// +private
	Ephemeral bool
	// Whose they are then: a check's are not those of another one beside it.
	// +private
	Apart string
	// What builds, for the provenance.
	// +private
	Builder string
	// Where an image that is verified has to come from, and what has to have built it, as
	// it was given.
	// +private
	From string
	// +private
	By string
	// What signs: a key, or the token service of a job of GitHub Actions.
	// +private
	SigningKey *dagger.Secret
	// +private
	SigningPassword *dagger.Secret
	// +private
	TransparencyLog bool
	// +private
	OidcURL *dagger.Secret
	// +private
	OidcToken *dagger.Secret
	// The GitHub App to sign in as, instead of with a token.
	// +private
	AppID int
	// +private
	InstallationID int
	// +private
	AppKey *dagger.Secret
	// Where GitHub's API is.
	// +private
	APIURL string
	// How vulnerabilities are looked up.
	// +private
	VulnerabilityDatabase *dagger.Directory
	// +private
	VulnerabilityURL string
	// +private
	FailOn string
	// +private
	RequireScan bool
	// Makes the image anew, past the cache; never in what is released.
	// +private
	Salt string
}

// A checkout and the Backstage app in it. Made anew for each session: an object
// kept from another one can name directories that ended with it.
//
// +cache="session"
func New(
	// Checkout to work on, with its .git folder. Releases are of its HEAD.
	//
	// +defaultPath="/"
	// +ignore=["backstage/**/node_modules", "backstage/**/dist", "backstage/dist-types", "backstage/**/coverage", "backstage/.yarn/cache", "backstage/.yarn/install-state.gz", "ci/slim/node_modules", "ci/slim/.yarn"]
	checkout *dagger.Directory,

	// Backstage app to build instead of the checkout's backstage/, of the same
	// layout: Yarn workspaces with packages/app and packages/backend. Its tag and
	// revision are those of its own Git repository; without one it can be built,
	// tested and served, but not released.
	//
	// +optional
	// +ignore=["**/node_modules", "**/dist", "dist-types", "**/coverage", ".yarn/cache", ".yarn/install-state.gz"]
	source *dagger.Directory,

	// Address of the source repository, for the image's label and provenance; default: this
	// project's. It is not read from the checkout, because the clone's address must not
	// change the image. If given, verified images must come from it.
	//
	// +optional
	url string,

	// Start with an empty embedded registry and Git remote, and discard them when the
	// session ends.
	//
	// +optional
	ephemeral bool,

	// Builder ID for the image's provenance: in a GitHub Actions job the address of its
	// workflow; default: this module's. If given, verified images must be built by it.
	//
	// +optional
	builder string,

	// Private key that signs images, as cosign generate-key-pair creates it, such as
	// env://COSIGN_KEY; default: the embedded key for the embedded registry, none for
	// others.
	//
	// +optional
	signingKey *dagger.Secret,

	// Password of the signing key, such as env://COSIGN_PASSWORD.
	//
	// +optional
	signingPassword *dagger.Secret,

	// Record the signing key's signatures in Sigstore's public transparency log;
	// verify-release then requires them there.
	//
	// +optional
	transparencyLog bool,

	// Address at which a GitHub Actions job requests its identity token, to sign keyless:
	// env://ACTIONS_ID_TOKEN_REQUEST_URL.
	//
	// +optional
	oidcURL *dagger.Secret,

	// Token for that request: env://ACTIONS_ID_TOKEN_REQUEST_TOKEN.
	//
	// +optional
	oidcToken *dagger.Secret,

	// ID of a GitHub App to sign in as, in place of --token. What an App pushes starts
	// workflows.
	//
	// +optional
	appID int,

	// ID of the App's installation: the number in the address of its settings.
	//
	// +optional
	installationID int,

	// Private key of the App, PEM, such as env://APP_KEY.
	//
	// +optional
	appKey *dagger.Secret,

	// Address of GitHub's API, such as https://github.example.com/api/v3, $GITHUB_API_URL
	// in a workflow; default: that of the remote's host.
	//
	// +optional
	apiURL string,

	// Folder of a grype vulnerability database to scan the image with; without it or
	// --vulnerability-url nothing is scanned, and the report says so.
	//
	// +optional
	vulnerabilityDatabase *dagger.Directory,

	// URL to load that database from: grype's listing,
	// https://grype.anchore.io/databases, or an archive of a mirror.
	//
	// +optional
	vulnerabilityURL string,

	// Refuse an image with a vulnerability of this severity or higher: negligible, low,
	// medium, high or critical. An unknown severity is always refused. vulnerabilities.yaml
	// in the checkout's root lists exceptions, each with a reason and an expiry date.
	//
	// +optional
	failOn string,

	// Refuse an image that cannot be scanned. With any of the scan flags, an image that is
	// already released is scanned again.
	//
	// +optional
	requireScan bool,
) *BackstageGitops {
	m := &BackstageGitops{
		Checkout: checkout, Repo: checkout, Source: source, AppRepo: source, Ephemeral: ephemeral,
		URL: cmp.Or(url, project), Builder: cmp.Or(builder, project+"/tree/main/.dagger"), From: url, By: builder, SigningKey: signingKey, SigningPassword: signingPassword, TransparencyLog: transparencyLog,
		OidcURL: oidcURL, OidcToken: oidcToken, AppID: appID, InstallationID: installationID, AppKey: appKey, APIURL: apiURL,
		VulnerabilityDatabase: vulnerabilityDatabase, VulnerabilityURL: vulnerabilityURL, FailOn: failOn, RequireScan: requireScan,
	}
	if source == nil {
		m.Source = checkout.Directory("backstage")
	}
	return m
}
