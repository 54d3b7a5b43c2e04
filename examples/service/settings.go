package service

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	_ "time/tzdata" // for calendar limits, on machines without zone data

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/policyfile"
)

// Settings are the settings of a server.
type Settings struct {
	Addr           string // host:port to listen on; port 0 picks a free one
	RedisURL       string // as redisstream.Open reads it; "" keeps the logs in this process's memory
	PolicyFile     string // policies in place of the built-in ones; "" for none
	TrustedProxies []netip.Prefix
	KeySecret      []byte // for digests of API keys; empty is none
	FormerSecret   []byte // the key secret before, while it is rotated; empty is none

	MonitorPassword string // "" prints a link to the monitor with a random token instead
}

// variables has the flag and the environment variable of each setting.
var variables = []struct{ flag, env, standard, usage string }{
	{"addr", "ADDR", "127.0.0.1:8080", "listen on `host:port`; port 0 picks a free one"},
	{"redis-url", "REDIS_URL", "", "keep the logs in the Redis at this `url`, such as redis://localhost:6379; without one, in this process's memory"},
	{"policies", "POLICIES", "", "take policies from this YAML `file` instead of the built-in ones of the same names, again whenever it changes and on SIGHUP"},
	{"trusted-proxies", "TRUSTED_PROXIES", "", "believe the X-Forwarded-For of peers in these `CIDRs`, separated by commas"},
	{"monitor-password", "MONITOR_PASSWORD", "", "serve the monitor at /ratelimit/ to whoever has this `password`; without one, to whoever follows the link that is printed at start"},
	{"key-secret", "KEY_SECRET", "", "hash API keys with this `secret`"},
	{"key-secret-former", "KEY_SECRET_FORMER", "", "while the key secret is rotated, also count by the `secret` before it"},
}

// policyPrefix begins the variables that give a policy other limits, such as
// POLICY_SEARCH.
const policyPrefix = "POLICY_"

// Load reads the settings from flags, and from the environment for flags that are not
// set. An empty variable is the same as none. An error is for [Exit], which distinguishes
// wrong settings from other failures.
func Load(args []string, getenv func(string) string) (Settings, error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // Exit says what is wrong
	values := make(map[string]*string, len(variables))
	for _, v := range variables {
		standard := v.standard
		if set := getenv(v.env); set != "" {
			standard = set
		}
		// The flag does not get the value as its default, since its help would show
		// secrets.
		values[v.flag] = &standard
		flags.Func(v.flag, help(v.usage, v.env, v.standard), func(s string) error {
			*values[v.flag] = s
			return nil
		})
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		fmt.Println("Settings, each a flag or an environment variable:")
		flags.PrintDefaults()
		return Settings{}, err
	case err != nil:
		return Settings{}, &settingsError{fmt.Errorf("%w; -h lists the settings", err)}
	case flags.NArg() > 0:
		return Settings{}, &settingsError{fmt.Errorf("unexpected argument %q: settings are flags; -h lists them", flags.Arg(0))}
	}

	s := Settings{
		Addr:       *values["addr"],
		RedisURL:   *values["redis-url"],
		PolicyFile: *values["policies"],
		KeySecret:  []byte(*values["key-secret"]),

		FormerSecret:    []byte(*values["key-secret-former"]),
		MonitorPassword: *values["monitor-password"],
	}
	if err := checkAddr(s.Addr); err != nil {
		return Settings{}, &settingsError{fmt.Errorf("ADDR: %w", err)}
	}
	var err error
	if s.TrustedProxies, err = core.ParsePrefixes(*values["trusted-proxies"]); err != nil {
		return Settings{}, &settingsError{fmt.Errorf("TRUSTED_PROXIES: %w", err)}
	}
	if err := s.checkPolicies(); err != nil {
		return Settings{}, &settingsError{err}
	}
	return s, nil
}

// checkPolicies returns an error for wrong policies before the server starts.
func (s Settings) checkPolicies() error {
	known := builtIn().all()
	if s.PolicyFile != "" {
		policies, err := policyfile.Read(s.PolicyFile, known...)
		if err != nil {
			return err // names the file and the line
		}
		known = append(known, policies...)
	}
	_, err := policyfile.Environ(policyPrefix, os.LookupEnv, known...)
	return err
}

func help(usage, env, standard string) string {
	if standard == "" {
		return usage + " (" + env + ")"
	}
	return usage + " (" + env + "; default " + standard + ")"
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q: write host:port, such as 127.0.0.1:8080 or :0", addr)
	}
	return nil
}

// Store returns the name of the store: "redis" or "memory".
func (s Settings) Store() string {
	if s.RedisURL == "" {
		return "memory"
	}
	return "redis"
}
