// Package distconsts names the paths, addresses and environment variables on
// which Dagger's CLI, its engine and the engine's image agree.
//
// It stands in for a module that some module proxies refuse; every constant is
// here because Dagger v0.21.8 refers to it, and its value is what the engine
// image built by ci/airgap provides.
package distconsts

// Addresses and names.
const (
	// DefaultEngineSockAddr is where the engine listens and where dial-stdio
	// finds it.
	DefaultEngineSockAddr = "unix:///run/dagger/engine.sock"

	// EngineContainerName is the engine that a CLI without a version stamp
	// looks for.
	EngineContainerName = "dagger-engine.dev"

	// OCIVersionAnnotation is the manifest annotation in which `dagger
	// version` looks for the newest release.
	OCIVersionAnnotation = "org.opencontainers.image.version"
)

// Paths in the engine's image.
const (
	// RuncPath is the OCI runtime the engine executes.
	RuncPath = "/usr/local/bin/runc"

	// DaggerInitPath is the program that becomes PID 1 of every exec.
	DaggerInitPath = "/usr/local/bin/dagger-init"

	// EngineDefaultStateDir holds snapshots, content and databases.
	EngineDefaultStateDir = "/var/lib/dagger"

	// EngineContainerBuiltinContentDir is a containerd content store
	// (blobs/sha256/…) with the SDK images shipped inside the engine.
	EngineContainerBuiltinContentDir = "/usr/local/share/dagger/content"

	// EngineCustomCACertsDir holds the certificates that the engine installs
	// in every container it runs.
	EngineCustomCACertsDir = "/usr/local/share/ca-certificates"
)

// Environment variables with the digest of the manifest, in the builtin
// content store, of the SDK image of a language.
const (
	GoSDKManifestDigestEnvName         = "DAGGER_GO_SDK_MANIFEST_DIGEST"
	PythonSDKManifestDigestEnvName     = "DAGGER_PYTHON_SDK_MANIFEST_DIGEST"
	TypescriptSDKManifestDigestEnvName = "DAGGER_TYPESCRIPT_SDK_MANIFEST_DIGEST"
)

// Images that Dagger names itself: the default of Container.terminal, and
// those of its integration tests.
const (
	AlpineVersion = "3.22"
	AlpineImage   = "docker.io/library/alpine:" + AlpineVersion
	BusyboxImage  = "docker.io/library/busybox:1.37"
	GolangImage   = "docker.io/library/golang:1.26-alpine"
)
