package monitortest

import (
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// TestFrameworks: the page works under each framework, as the examples mount it.
func TestFrameworks(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, framework := range program.Servers {
		t.Run(framework, func(t *testing.T) {
			server := program.Start(t, framework, "REDIS_URL=redis://"+redis.Addr+"/0")
			b := open(t, server.Link)
			b.live()
			for range 7 {
				resp, err := client.Get(server.URL + "/strict")
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			b.await("the requests", `document.querySelector("[data-policy=strict] .area.allowed")?.getAttribute("d")`)
			b.await("the route", `document.querySelector("#routes").innerText.includes("/strict")`)
			if strings.HasPrefix(framework, "fiber") { // which streams nothing
				b.await("that it asks", `document.querySelector("#link").textContent === "live, by polling"`)
				b.forgive("501")
			}
		})
	}
}
