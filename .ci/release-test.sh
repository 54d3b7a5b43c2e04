#!/usr/bin/env bash
# Tests a release as its users get it: makes one of HEAD by a dry run, a module proxy of its tags,
# and with that proxy a Gin service, a program with all modules, and the tool. Nothing is replaced.
set -euo pipefail
cd "$(dirname "$0")/.."
root=github.com/streamlimit/streamlimit
version=v0.999.0 # no tag has it
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
	echo "release-test: $*" >&2
	exit 1
}

tags=$(git tag)
tagged=$(DRY=1 .ci/release.sh $version | sed -n 's/^tagged //p')
[ "$(git tag)" = "$tags" ] || fail "the dry run has tagged this repository"

# Go itself finds the tags, by its rules for subdirectories and majors: it is sent to the clone for
# what it believes to be at GitHub. What it has downloaded has the layout of a proxy.
modules=()
for tag in $tagged; do
	module=$root/${tag%/*} number=${tag##*/}
	[[ $number == v0.* ]] || module=$module/${number%%.*}
	modules+=("$module@$number")
done
proxies="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" # what this repository has downloaded is not downloaded again
# The module cache is new, because Go remembers the files of a version at a place, and each commit
# has the same version. With -trimpath the place is not in what is compiled, so the next run
# compiles only these modules anew.
export GOWORK=off GOTOOLCHAIN=local GOFLAGS="-mod=mod -modcacherw -trimpath" GOMODCACHE=$scratch/modules GOBIN=$scratch/bin
(
	cd "$scratch"
	GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$OLDPWD/.tools/release.insteadOf" GIT_CONFIG_VALUE_0=https://$root \
		GOMODCACHE=$scratch/tags GONOPROXY=$root GONOSUMDB=$root go mod download "${modules[@]}"
)
export GOPROXY=file://$scratch/tags/cache/download,$proxies GONOSUMDB=$root

# program NAME MODULE...: makes the program on standard input outside of the repository, with the
# modules, and checks that the second of its two requests exceeds a limit of one.
program() {
	local name=$1 printed
	mkdir "$scratch/$name" && cd "$scratch/$name"
	cat >main.go
	go mod init "example.com/$name" 2>/dev/null
	go get "${@:2}" >log 2>&1 && go mod tidy >>log 2>&1 && go build -o program . >>log 2>&1 || { cat log >&2 && fail "$name does not build"; }
	! grep '^replace' go.mod || fail "$name replaces a module"
	printed=$(./program 2>>log) || { cat log >&2 && fail "$name fails"; }
	[ "$printed" = "${wanted-200 429}" ] || fail "$name printed '$printed'"
	cd "$OLDPWD"
}

# requirements NAME: the modules in the program's go.mod.
requirements() {
	sed -nE 's/^(require )?[[:space:]]*([^ ]+) v[0-9].*/\2/p' "$scratch/$1/go.mod" | sort
}

# added WITHOUT WITH: the modules that one program has and the other has not.
added() {
	comm -13 <(requirements "$1") <(requirements "$2") | sed "s,$root/,," | tr '\n' ' '
}

gin=github.com/gin-gonic/gin@$(sed -nE 's,.*github.com/gin-gonic/gin (v[^ ]+)$,\1,p' ginlimit/go.mod)
wanted="" program gin "$gin" <<'GO'
package main

import "github.com/gin-gonic/gin"

func main() { gin.SetMode(gin.ReleaseMode) }
GO

program gin-memory "$gin" "$root/ginlimit@$version" <<'GO'
package main

import (
	"fmt"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/ginlimit"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	limiter := core.New(core.NewMemory())
	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	router.GET("/", func(*gin.Context) {})
	first, second := httptest.NewRecorder(), httptest.NewRecorder()
	router.ServeHTTP(first, httptest.NewRequest("GET", "/", nil))
	router.ServeHTTP(second, httptest.NewRequest("GET", "/", nil))
	fmt.Println(first.Code, second.Code)
}
GO

# No server is at the address, so the limiter decides alone.
program gin-redis "$gin" "$root/ginlimit@$version" <<'GO'
package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/ginlimit"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	store, err := redisstream.Open("redis://127.0.0.1:1")
	if err != nil {
		panic(err)
	}
	limiter := core.New(store, core.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	router.GET("/", func(*gin.Context) {})
	first, second := httptest.NewRecorder(), httptest.NewRecorder()
	router.ServeHTTP(first, httptest.NewRequest("GET", "/", nil))
	router.ServeHTTP(second, httptest.NewRequest("GET", "/", nil))
	fmt.Println(first.Code, second.Code)
}
GO

[ "$(added gin gin-memory)" = "core ginlimit " ] || fail "a Gin service gets the modules $(added gin gin-memory)"
[ "$(added gin-memory gin-redis)" = "github.com/cespare/xxhash/v2 github.com/redis/go-redis/v9 go.uber.org/atomic " ] ||
	fail "with Redis a Gin service gets the modules $(added gin-memory gin-redis)"

libraries=()
for module in "${modules[@]}"; do
	[[ $module == */cmd/* ]] || libraries+=("$module")
done
program all "${libraries[@]}" <<'GO'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gofiber/fiber/v3"
	"github.com/labstack/echo/v5"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/monitor"
	_ "github.com/streamlimit/streamlimit/core/policyfile"
	_ "github.com/streamlimit/streamlimit/core/telemetry"
	echo4limit "github.com/streamlimit/streamlimit/echolimit"
	"github.com/streamlimit/streamlimit/echolimit/v5"
	fiber2limit "github.com/streamlimit/streamlimit/fiberlimit"
	"github.com/streamlimit/streamlimit/fiberlimit/v3"
	"github.com/streamlimit/streamlimit/ginlimit"
)

var _ = []any{ginlimit.New, echo4limit.New, fiber2limit.New, httplimit.New, monitor.New}

func main() {
	limiter := core.New(core.NewMemory())
	policy := core.NewPolicy("api", core.PerHour(1))

	e := echo.New()
	e.Use(echolimit.New(limiter, policy, echolimit.WithKey(echolimit.ByConstant("all"))))
	e.GET("/", func(c *echo.Context) error { return c.NoContent(http.StatusOK) })
	first := httptest.NewRecorder()
	e.ServeHTTP(first, httptest.NewRequest("GET", "/", nil))

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, policy, fiberlimit.WithKey(fiberlimit.ByConstant("all"))))
	app.Get("/", func(c fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
	second, err := app.Test(httptest.NewRequest("GET", "/", nil))
	if err != nil {
		panic(err)
	}
	fmt.Println(first.Code, second.StatusCode)
}
GO

(cd "$scratch" && GOFLAGS="-modcacherw -trimpath" go install "$root/core/cmd/streamlimit@$version" >log 2>&1) || { cat "$scratch/log" >&2 && fail "go install of the tool failed"; }
[[ $("$GOBIN/streamlimit" help) == *"streamlimit top"* ]] || fail "the tool shows no help"

echo "released and used: ${modules[*]#"$root/"}"
