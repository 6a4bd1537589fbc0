package image

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits are what a slim image must keep.
type Limits struct {
	// CompressedBytes and DiskBytes bound the image's sizes; 0 means no bound.
	CompressedBytes int64
	DiskBytes       int64
}

// SlimLimits are those of the slim image: 85 MB to pull, 300 MB on disk.
var SlimLimits = Limits{CompressedBytes: 85e6, DiskBytes: 300e6}

// Finding is something that keeps an image from being slim and bare.
type Finding struct {
	// Rule is the rule that is broken.
	Rule string `json:"rule"`
	// Path is a file of the image, empty where the finding is about the image as a whole.
	Path string `json:"path,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
}

// requiredLabels are the OCI labels that tie an image to its source.
var requiredLabels = []string{
	"org.opencontainers.image.source",
	"org.opencontainers.image.revision",
	"org.opencontainers.image.version",
	"org.opencontainers.image.created",
}

// forbidden are the files that a running Backstage has no use for.
var forbidden = []struct {
	rule string
	path *regexp.Regexp
	why  string
}{
	{"package-manager", regexp.MustCompile(`/bin/(yarn|yarnpkg|npm|npx|pnpm|corepack|apt|apt-get|dpkg|apk)$|/\.yarn/|/node_modules/(npm|corepack|yarn)/package\.json$`), "is a package manager"},
	{"compiler", regexp.MustCompile(`/bin/(cc|gcc|g\+\+|c\+\+|clang|make|cmake|ld|as|python3?|perl)$|/node_modules/(node-gyp|typescript|@swc/core|esbuild|webpack|@rspack/core)/package\.json$`), "is a compiler or a build tool"},
	{"shell", regexp.MustCompile(`/bin/(sh|bash|dash|ash|busybox)$`), "is a shell"},
	{"header", regexp.MustCompile(`\.(h|hh|hpp|hxx)$|^/usr/(local/)?include/`), "is a header"},
	{"native-source", regexp.MustCompile(`\.(c|cc|cpp|cxx|o|a|gyp|gypi)$`), "is a native source or object file"},
	{"source-map", regexp.MustCompile(`\.(map)$`), "is a source map"},
	{"type-declaration", regexp.MustCompile(`\.d\.[cm]?ts(\.map)?$`), "is a type declaration"},
	{"source", regexp.MustCompile(`\.(ts|tsx|mts|cts|jsx)$|\.tsbuildinfo$`), "is a source file"},
	{"test", regexp.MustCompile(`/(__tests__|__mocks__|__fixtures__|setupTests)(/|\.)|\.(test|spec|stories)\.[cm]?[jt]sx?$`), "is a test"},
}

// exempt are files that the program reads at run time whatever their names say: Backstage validates its configuration
// with the schemas of config.d.ts, and the content of a software template becomes somebody else's repository.
var exempt = regexp.MustCompile(`/config\.d\.ts$|/templates/[^/]+/content/`)

// privileged finds set-user-ID and set-group-ID programs.
const privileged = 0o6000

// Check compares an image with what a slim one is meant to be, and returns what is wrong with it. Rules that are
// allowed to be broken are not looked at.
func Check(i Inspection, files []File, limits Limits, allowed ...string) []Finding {
	var found []Finding
	add := func(rule, path, format string, args ...any) {
		if slices.Contains(allowed, rule) {
			return
		}
		found = append(found, Finding{Rule: rule, Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if most := limits.CompressedBytes; most > 0 && i.CompressedBytes > most {
		add("compressed-size", "", "%.1f MB compressed, more than %.1f MB", float64(i.CompressedBytes)/1e6, float64(most)/1e6)
	}
	if most := limits.DiskBytes; most > 0 && i.DiskBytes > most {
		add("disk-size", "", "%.1f MB on disk, more than %.1f MB", float64(i.DiskBytes)/1e6, float64(most)/1e6)
	}
	if user, _, _ := strings.Cut(i.User, ":"); user == "" || user == "root" || strings.Trim(user, "0") == "" {
		add("user", "", "runs as root; set a numeric user")
	} else if strings.Trim(user, "0123456789") != "" {
		add("user", "", "runs as %q; Kubernetes can check runAsNonRoot of a numeric user only", user)
	}
	if len(i.Entrypoint) == 0 || strings.HasSuffix(i.Entrypoint[0], "/sh") || i.Entrypoint[0] == "sh" {
		add("entrypoint", "", "the entrypoint %q is not a program of its own, so signals do not reach it", strings.Join(i.Entrypoint, " "))
	}
	for _, l := range requiredLabels {
		if i.Labels[l] == "" {
			add("label", "", "the label %s is missing", l)
		}
	}
	for _, f := range files {
		if f.Mode&privileged != 0 {
			add("privileged", f.Path, "%s runs with the rights of its owner", f.Path)
		}
		for _, r := range forbidden {
			if r.path.MatchString(f.Path) && !exempt.MatchString(f.Path) {
				add(r.rule, f.Path, "%s %s", f.Path, r.why)
				break
			}
		}
	}
	return found
}

// Summary is one sentence on findings: the first of each rule, and how many more there are.
func Summary(found []Finding) string {
	count := map[string]int{}
	var parts []string
	for _, f := range found {
		if count[f.Rule]++; count[f.Rule] == 1 {
			parts = append(parts, f.Rule)
		}
	}
	for n, rule := range parts {
		first := found[slices.IndexFunc(found, func(f Finding) bool { return f.Rule == rule })]
		parts[n] = first.Message
		if more := count[rule] - 1; more > 0 {
			parts[n] += fmt.Sprintf(" (and %d more)", more)
		}
	}
	return strings.Join(parts, "; ")
}

func ports(exposed map[string]struct{}) []string {
	return slices.Sorted(maps.Keys(exposed))
}

func sorted(tree map[string]File) []File {
	files := make([]File, 0, len(tree))
	for _, p := range slices.Sorted(maps.Keys(tree)) {
		files = append(files, tree[p])
	}
	return files
}
