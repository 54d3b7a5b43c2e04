package adaptertest

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// malformed returns the response to an ambiguous Authorization field.
func malformed(detail string) string {
	return `{"title":"Bad Request","status":400,"detail":"` + detail + `"}`
}

// spellings returns an Authorization field for each way to write the scheme, with each
// credential and amount of white space in turn.
func spellings(scheme string, credentials ...string) (fields []string) {
	spaces := []string{" ", "  ", "\t", " \t ", "     "}
	letters := strings.ToLower(scheme)
	for upper := range 1 << len(letters) {
		spelled := []byte(letters)
		for i := range spelled {
			if upper&(1<<i) != 0 {
				spelled[i] -= 'a' - 'A'
			}
		}
		for i, credential := range credentials {
			n := upper + i
			fields = append(fields, "Authorization:"+spaces[n%3][1:]+string(spelled)+spaces[n%len(spaces)]+credential+spaces[n%4][1:])
		}
	}
	return fields
}

// wantOneKey checks that all spellings of a credential are counted as one client.
func (s suite) wantOneKey(t *testing.T, k *key, want string, fields []string) {
	t.Helper()
	if len(fields) < 128 {
		t.Fatalf("%d spellings, want at least 128", len(fields))
	}
	w := s.openKey(t, k)
	for i, field := range fields {
		r := w.raw("GET /1 HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n")
		if i == 0 {
			r.want(http.StatusOK)
			w.wantKey(want)
			continue
		}
		if r.status != http.StatusTooManyRequests {
			t.Fatalf("%q is answered with %d, as if it were another client", field, r.status)
		}
	}
}

func checkKeyByBearer(t *testing.T, s suite) {
	const token = "s3cret-of-alice"
	s.wantOneKey(t, byBearer(), digest("bearer", token), spellings("bearer", token, token))

	// The signature of a JSON Web Token has 2 unused bits, and padding.
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	last := strings.TrimSuffix(jwt, "U")
	s.wantOneKey(t, byBearer(), digest("bearer", jwt), spellings("bearer", jwt, last+"V", last+"W=", last+"X"))

	w := s.openKey(t, byBearer())
	for _, other := range []string{"a", "A", "a=", "token-1", "token-2", "eyJ.x", jwt, strings.Replace(jwt, "47D", "48D", 1)} {
		w.get("/1", "Authorization: Bearer "+other).want(http.StatusOK).wantNowhere("eyJ")
	}
	handled := w.handled()
	for _, none := range []string{"", "Bearer", "Bearer ", "Basic YTpi", "Token a", "Bearer:a", "a"} {
		w.get("/1", "Authorization: "+none).want(http.StatusUnauthorized).wantProblem(unauthorized)
	}
	w.get("/1").want(http.StatusUnauthorized)
	w.get("/1", "Authorization: Bearer a b").want(http.StatusBadRequest).wantProblem(malformed("the Authorization field is malformed"))
	w.get("/1", "Authorization: Bearer a", "Authorization: Bearer a").want(http.StatusBadRequest).
		wantProblem(malformed("more than one Authorization field"))
	w.raw("GET /1 HTTP/1.1\r\nHost: a\r\nauthorization: Bearer new\r\nAUTHORIZATION: Bearer newer\r\n\r\n").want(http.StatusBadRequest)
	if w.handled() != handled {
		t.Error("a request without one bearer token came through")
	}
}

func checkKeyByBasicUser(t *testing.T, s suite) {
	// Each of the ends encodes the same last byte: in the other alphabet, with any values
	// of the 2 unused bits, and of the 4 unused bits.
	encoded := func(pair, ends string) (all []string) {
		text := base64.RawStdEncoding.EncodeToString([]byte(pair))
		for i, end := range strings.Split(ends, "") {
			all = append(all, text[:len(text)-1]+end+strings.Repeat("=", i%3))
		}
		return all
	}
	credentials := append(encoded("alice:pw?", "/_"), encoded("alice:passw", "cdef")...)
	credentials = append(credentials, encoded("alice:passwor", "ghijklmnopqrstuv")...)
	for _, c := range credentials[2:] {
		if pair, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(c, "=")); err != nil || !strings.HasPrefix(string(pair), "alice:pass") {
			t.Fatalf("%q is %q, %v", c, pair, err)
		}
	}
	s.wantOneKey(t, byBasicUser(), digest("basic", "alice"), spellings("basic", credentials...))

	w := s.openKey(t, byBasicUser())
	basic := func(pair string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	for _, other := range []string{"alice:pw", "Alice:pw", "bob:pw", "alice :pw", "ali:ce:pw", "\xff\xfe:pw"} {
		w.get("/1", basic(other)).want(http.StatusOK)
	}
	w.get("/1", basic("bob:other:password")).wantDeniedBy("api").wantNowhere("bob")
	handled := w.handled()
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized)
	w.get("/1", basic(":pw")).want(http.StatusUnauthorized)
	w.get("/1", "Authorization: Bearer a").want(http.StatusUnauthorized)
	for _, wrong := range []string{"Authorization: Basic", "Authorization: Basic a", "Authorization: Basic %%%%", "Authorization: Basic YTpi YTpi", basic("alice")} {
		w.get("/1", wrong).want(http.StatusBadRequest).wantProblem(malformed("the Authorization field is malformed"))
	}
	w.get("/1", basic("new:pw"), basic("newer:pw")).want(http.StatusBadRequest)
	if w.handled() != handled {
		t.Error("a request without one user came through")
	}

	// Another scheme counts as a missing key, so the next key is used.
	w = s.openKey(t, byFirst(byBearer(), byBasicUser(), byAddress()), core.WithKeySecret([]byte("pepper")))
	w.get("/1", "Authorization: Bearer a").want(http.StatusOK)
	w.get("/1", basic("a:pw")).want(http.StatusOK)
	w.get("/1", "Authorization: Digest username=a").want(http.StatusOK)
	w.wantKey("127.0.0.1")
	w.get("/1", "Authorization: Basic a").want(http.StatusBadRequest)
}
