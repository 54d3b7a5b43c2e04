module github.com/streamlimit/streamlimit/core/policyfile

go 1.26.0

require (
	github.com/goccy/go-yaml v1.19.2
	github.com/streamlimit/streamlimit/core v0.0.0
)

replace github.com/streamlimit/streamlimit/core => ..
