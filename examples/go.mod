module github.com/streamlimit/streamlimit/examples

go 1.26.0

require (
	github.com/streamlimit/streamlimit/core v0.0.0
	github.com/streamlimit/streamlimit/echolimit v0.0.0
	github.com/streamlimit/streamlimit/fiberlimit v0.0.0
	github.com/streamlimit/streamlimit/ginlimit v0.0.0
)

replace (
	github.com/streamlimit/streamlimit/core => ../core
	github.com/streamlimit/streamlimit/echolimit => ../echolimit
	github.com/streamlimit/streamlimit/fiberlimit => ../fiberlimit
	github.com/streamlimit/streamlimit/ginlimit => ../ginlimit
)
