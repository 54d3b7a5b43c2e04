package adaptertest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

const (
	unauthorized = `{"title":"Unauthorized","status":401,"detail":"the request lacks what it is counted by, such as a credential"}`
	unavailable  = `{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Service Unavailable","status":503,` +
		`"detail":"the rate limiter could not decide; retry in 1s"}`
)

// openKey serves "/:id" with 1 request a minute for each key.
func (s suite) openKey(t *testing.T, k *key, limiterOptions ...core.Option) *site {
	t.Helper()
	limiter, _ := newLimiter(t, limiterOptions...)
	return s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1)), options{key: k}})
}

// wantKey checks the key of the last request that reached a handler.
func (w *site) wantKey(key string) {
	w.t.Helper()
	if got := w.newest().Key; got != key {
		w.t.Errorf("counted by %q, want %q", got, key)
	}
}

// digest returns the key of a credential.
func digest(name, value string) string {
	sum := sha256.Sum256([]byte(value))
	return name + "=" + hex.EncodeToString(sum[:16])
}

// user is a key function that returns a field unchanged, and rejects some values.
func user(v visit) (string, error) {
	switch value := v.header("X-User"); value {
	case "banned":
		return "", core.Refuse(http.StatusForbidden, "no entry")
	case "broken":
		return "", errors.New("dial tcp 10.9.8.7: no users today")
	default:
		return value, nil
	}
}

func checkKeyByAddress(t *testing.T, s suite) {
	for name, k := range map[string]*key{"by default": nil, "by option": byAddress()} {
		t.Run(name, func(t *testing.T) {
			w := s.openKey(t, k)
			w.get("/1").want(http.StatusOK)
			w.wantKey("127.0.0.1")
			w.get("/2").wantDeniedBy("api").wantNowhere("127.0.0.1")
		})
	}
}

func checkKeyByHeader(t *testing.T, s suite) {
	const secret = "s3cret-of-alice"
	w := s.openKey(t, byHeader("X-API-Key"))
	w.get("/1", "X-API-Key: "+secret).want(http.StatusOK).wantNowhere(secret)
	w.wantKey(digest("x-api-key", secret))
	if d := fmt.Sprintf("%+v %#v", w.newest(), w.newest()); strings.Contains(d, secret) {
		t.Errorf("the secret is in the decision: %s", d)
	}
	// All spellings of one client, and the first of several lines.
	w.get("/1", "X-API-Key: "+secret).wantDeniedBy("api").wantNowhere(secret)
	w.get("/1", "x-api-key: "+secret).wantDeniedBy("api")
	w.raw("GET /1 HTTP/1.1\r\nHost: a\r\nX-Api-Key:\t  " + secret + " \t\r\n\r\n").wantDeniedBy("api")
	w.get("/1", "X-API-Key: "+secret, "X-API-Key: other").wantDeniedBy("api")
	w.get("/1", "X-API-Key: other").want(http.StatusOK)
	handled := w.handled()
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized).wantField("Retry-After", "").wantField("RateLimit", "")
	w.get("/1", "X-API-Key: ").want(http.StatusUnauthorized)
	if w.handled() != handled {
		t.Error("a request without the credential came through")
	}

	w = s.openKey(t, byHeader("X-API-Key"), core.WithKeySecret([]byte("pepper")))
	w.get("/1", "X-API-Key: "+secret).want(http.StatusOK)
	mac := hmac.New(sha256.New, []byte("pepper"))
	mac.Write([]byte(secret))
	w.wantKey("x-api-key=" + hex.EncodeToString(mac.Sum(nil)[:16]))
}

func checkKeyBySecret(t *testing.T, s suite) {
	w := s.openKey(t, bySecret("session", user))
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.wantKey(digest("session", "alice"))
	w.get("/1", "X-User: alice").wantDeniedBy("api").wantNowhere("alice")
	w.get("/1", "X-User: bob").want(http.StatusOK)
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized)
	w.get("/1", "X-User: banned").want(http.StatusForbidden).
		wantProblem(`{"title":"Forbidden","status":403,"detail":"no entry"}`)
}

func checkKeyByFunc(t *testing.T, s suite) {
	w := s.openKey(t, byFunc("user", user))
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.wantKey("user=alice")
	w.get("/1", "X-User: alice").wantDeniedBy("api").wantNowhere("alice")
	w.get("/1", "X-User: bob").want(http.StatusOK)
	handled := w.handled()
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized)
	w.get("/1", "X-User: banned").want(http.StatusForbidden).wantField("Retry-After", "").
		wantProblem(`{"title":"Forbidden","status":403,"detail":"no entry"}`)
	w.get("/1", "X-User: broken").want(http.StatusServiceUnavailable).wantField("Retry-After", "1").
		wantProblem(unavailable).wantNowhere("10.9.8.7")
	if w.handled() != handled {
		t.Error("a rejected request came through")
	}
}

func checkKeyByConstant(t *testing.T, s suite) {
	w := s.openKey(t, byConstant("shop"))
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.wantKey("shop")
	w.get("/2", "X-User: bob").wantDeniedBy("api")
}

func checkKeyByAll(t *testing.T, s suite) {
	second := byFunc("b", func(v visit) (string, error) { return v.header("X-B"), nil })
	w := s.openKey(t, byAll(byFunc("a", user), second))
	w.get("/1", "X-User: x", "X-B: y").want(http.StatusOK)
	w.wantKey("3:a=x,3:b=y")
	w.get("/1", "X-User: x", "X-B: y").wantDeniedBy("api")
	w.get("/1", "X-User: y", "X-B: x").want(http.StatusOK)
	// Values that contain the separators of the parts can't imitate another key.
	w.get("/1", "X-User: p,3:b=q", "X-B: r").want(http.StatusOK)
	w.get("/1", "X-User: p", "X-B: q,3:b=r").want(http.StatusOK)
	w.get("/1", "X-User: x").want(http.StatusUnauthorized)
	w.get("/1", "X-B: y").want(http.StatusUnauthorized)
	w.get("/1", "X-User: banned", "X-B: y").want(http.StatusForbidden)
}

func checkKeyByFirst(t *testing.T, s suite) {
	w := s.openKey(t, byFirst(byHeader("X-API-Key"), byFunc("user", user), byAddress()))
	w.get("/1", "X-API-Key: k", "X-User: alice").want(http.StatusOK)
	w.wantKey(digest("x-api-key", "k"))
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.wantKey("user=alice")
	w.get("/1").want(http.StatusOK)
	w.wantKey("127.0.0.1")
	w.get("/1").wantDeniedBy("api")
	// Only after a missing key is the next one used.
	w.get("/1", "X-User: banned").want(http.StatusForbidden)
	w.get("/1", "X-User: broken").want(http.StatusServiceUnavailable)

	w = s.openKey(t, byFirst(byHeader("X-API-Key"), byFunc("user", user)))
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized)
}

func checkKeyBind(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(3))
	k := byAll(byHeader("X-API-Key"), byAddress())
	var left []int64
	w := s.open(t, app{groups: []group{{routes: []route{{
		path:   "/",
		limits: []limit{{limiter, policy, options{key: k}}},
		handler: func(v visit) error {
			found, err := v.boundKey(limiter, k)
			if d, _ := v.fromContext(); err != nil || found != d.Key {
				t.Errorf("KeyFunc found %q, %v, but the request was counted by %q", found, err, d.Key)
			}
			d, err := limiter.Peek(t.Context(), policy, found)
			if err != nil {
				t.Errorf("Peek: %v", err)
			}
			left = append(left, d.Remaining)
			return v.answer(http.StatusOK, "ok")
		},
	}}}}})
	w.get("/", "X-API-Key: k").want(http.StatusOK)
	w.get("/", "X-API-Key: k").want(http.StatusOK)
	if fmt.Sprint(left) != "[2 1]" {
		t.Errorf("Peek saw %v left, want [2 1]", left)
	}
}
