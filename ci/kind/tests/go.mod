module dagger/tests

go 1.26.0

require (
	dagger.io/dagger v0.21.8
	github.com/dagger/otel-go v1.43.1-0.20260515012101-af7cd0684887
	github.com/dagger/querybuilder v0.0.0-20260402040506-574a5e81cb59
)
