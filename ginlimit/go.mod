module github.com/streamlimit/streamlimit/ginlimit

go 1.26.0

require github.com/streamlimit/streamlimit/core v0.0.0

replace github.com/streamlimit/streamlimit/core => ../core
