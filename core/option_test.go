package core_test

import (
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// Digests of addresses without a secret hide nothing.
func TestHashedAddressesNeedSecret(t *testing.T) {
	panics(t, "core.WithKeySecret", func() { core.New(core.NewMemory(), core.WithHashedAddresses()) })
	for _, options := range [][]core.Option{
		{core.WithHashedAddresses(), core.WithKeySecret([]byte("s"))},
		{core.WithKeySecret([]byte("s")), core.WithHashedAddresses()},
	} {
		newLimiter(t, options...)
	}
}

func TestParsePrefixes(t *testing.T) {
	got, err := core.ParsePrefixes(" 10.1.2.3/8,192.168.0.1  ::1 ::ffff:172.16.0.0/108,fd00::/8,")
	want := "10.0.0.0/8 192.168.0.1/32 ::1/128 172.16.0.0/12 fd00::/8"
	var text []string
	for _, p := range got {
		text = append(text, p.String())
	}
	if err != nil || strings.Join(text, " ") != want {
		t.Errorf("%v, %v, want %s", text, err, want)
	}
	if got, err := core.ParsePrefixes(""); got != nil || err != nil {
		t.Errorf("an empty list: %v, %v", got, err)
	}
	for _, wrong := range []string{"10.0.0.0/33", "proxy.example", "10.0.0", "fe80::1%eth0", "10.0.0.1-10.0.0.9"} {
		if _, err := core.ParsePrefixes("10.0.0.0/8," + wrong); err == nil || !strings.Contains(err.Error(), wrong) || !strings.Contains(err.Error(), "is not a CIDR: write one such as") {
			t.Errorf("%q: error %v", wrong, err)
		}
	}
}
