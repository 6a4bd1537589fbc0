module github.com/backstage-gitops/backstage-gitops/ci/airgap/shims/vterm

go 1.26

require github.com/vito/midterm v0.2.4
