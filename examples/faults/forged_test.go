package faults

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// randomAddress returns an address of either family.
func randomAddress() string {
	if rand.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(rand.IntN(223) + 1), byte(rand.IntN(256)), byte(rand.IntN(256)), 1}).String()
	}
	return inNetwork("2001:db8:" + fmt.Sprintf("%x", rand.IntN(1<<16)))
}

// inNetwork returns a random address of a /64, given its first groups.
func inNetwork(prefix string) string {
	return fmt.Sprintf("%s::%x:%x", prefix, rand.IntN(1<<16), rand.IntN(1<<16))
}

// forgeries are ways to imitate many clients, each with a setting of the server. The
// fields are new for each request.
var forgeries = []struct {
	name, trusted string
	fields        func() map[string]string
}{
	{"from a peer that is not trusted", "", func() map[string]string {
		a := randomAddress()
		return map[string]string{
			"X-Forwarded-For": a, "X-Real-Ip": a, "True-Client-Ip": a, "Cf-Connecting-Ip": a, "X-Client-Ip": a,
			"Forwarded": `for="` + a + `"`,
		}
	}},
	{"before what a trusted proxy adds", "TRUSTED_PROXIES=127.0.0.0/8", func() map[string]string {
		return map[string]string{"X-Forwarded-For": randomAddress() + ", " + randomAddress() + ", 198.51.100.7"}
	}},
	{"in fields that are not read", "TRUSTED_PROXIES=127.0.0.0/8", func() map[string]string {
		return map[string]string{"X-Forwarded-For": "198.51.100.8", "Forwarded": "for=" + randomAddress(), "X-Real-Ip": randomAddress()}
	}},
	{"other spellings of one address", "TRUSTED_PROXIES=127.0.0.0/8", func() map[string]string {
		spellings := []string{"198.51.100.9", "::ffff:198.51.100.9", "::FFFF:c633:6409", " 198.51.100.9 ", "198.51.100.9:" + fmt.Sprint(rand.IntN(60000)+1)}
		return map[string]string{"X-Forwarded-For": spellings[rand.IntN(len(spellings))]}
	}},
	{"one IPv6 /64", "TRUSTED_PROXIES=127.0.0.0/8", func() map[string]string {
		return map[string]string{"X-Forwarded-For": inNetwork("2001:db8:1:2")}
	}},
}

func TestRow22_ForgedAddresses(t *testing.T) {
	t.Parallel()
	r := row(t, 22)
	requests, extra := 0, 0
	client := &http.Client{Transport: &http.Transport{}, Timeout: program.Timeout}
	defer client.CloseIdleConnections() // before the servers stop
	const limit = 10
	for _, framework := range program.Servers {
		t.Run(framework, func(t *testing.T) {
			defer client.CloseIdleConnections()
			servers := map[string]*program.Process{}
			for _, f := range forgeries {
				server := servers[f.trusted]
				if server == nil {
					server = program.Start(t, framework, f.trusted)
					servers[f.trusted] = server
				}
				admitted := 0
				for range scale(60, 2_000) {
					status := forged(t, client, server.URL+"/protected", f.fields())
					switch {
					case status == http.StatusOK:
						admitted++
					case status != http.StatusTooManyRequests:
						t.Fatalf("%s: status %d", f.name, status)
					}
					requests++
				}
				if admitted != limit {
					t.Errorf("%s: %d admitted, want %d", f.name, admitted, limit)
				}
				extra += admitted - limit
			}
		})
	}
	r.Figure("extra admitted %d of %d requests, forged in %d ways", extra, requests, len(forgeries))
}

func forged(t *testing.T, client *http.Client, url string, fields map[string]string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
