package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

var digestCommand = command{
	name:  "digest",
	about: "makes the key that a credential is counted by",
	help: `
It reads the credential from standard input, and not from an argument, which other
users of the machine can see; a terminal does not show it. It asks no Redis. The name
is that of the header field in small letters, or the one given to BySecret.

A service that has core.WithKeySecret makes other digests: the secret is read from
the environment variable that -secret names.

	streamlimit digest -name x-api-key < key.txt
	KEY_SECRET=... streamlimit digest -secret KEY_SECRET`,
	flags: func(f *flag.FlagSet) action {
		name := f.String("name", "x-api-key", "the `name` before the digest")
		secret := f.String("secret", "", "the `variable` of the environment that has the secret of core.WithKeySecret; unless set, there is none")
		asJSON := f.Bool("json", false, "write JSON")
		return func(_ context.Context, s streams) error {
			if *name == "" || strings.ContainsAny(*name, "=: \t") {
				return usage("-name is %q: it is one such as x-api-key", *name)
			}
			var options []core.Option
			if *secret != "" {
				value := os.Getenv(*secret)
				if value == "" {
					return usage("-secret: the environment has no %s", *secret)
				}
				options = append(options, core.WithKeySecret([]byte(value)))
			}
			credential, err := readCredential(s)
			if err != nil {
				return err
			}
			limiter := core.New(core.NewMemory(), options...)
			defer limiter.Close()
			key, err := adapter.CredentialKey(limiter, *name, credential)
			if err != nil {
				return errors.New("standard input has no credential")
			}
			if *asJSON {
				return writeJSON(s.out, map[string]any{"key": key})
			}
			_, err = fmt.Fprintln(s.out, key)
			return err
		}
	},
}

// maxCredential bounds what is read, in bytes.
const maxCredential = 1 << 20

// readCredential reads one, without the end of its line.
func readCredential(s streams) (string, error) {
	if in, ok := s.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprint(s.err, "Credential: ")
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(s.err)
		return string(text), err
	}
	text, err := io.ReadAll(io.LimitReader(s.in, maxCredential))
	if err != nil {
		return "", fmt.Errorf("standard input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
