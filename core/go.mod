module github.com/streamlimit/streamlimit/core

go 1.26.0
