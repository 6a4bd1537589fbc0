package sbom

import "runtime/debug"

// version is that of syft in this program. Syft's own way to find it gives nothing in a test.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/anchore/syft" {
			return dep.Version
		}
	}
	return "unknown"
}
