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
users of the machine can see. A terminal does not show it. It does not use Redis. The
name is the header field in lower case, or the name given to BySecret.

A service with core.WithKeySecret makes other digests. Name the environment variable
with its secret in -secret.

	streamlimit digest -name x-api-key < key.txt
	KEY_SECRET=... streamlimit digest -secret KEY_SECRET

While a secret is rotated, -former names the variable that has the former one. The key
under that follows on a second line.

	streamlimit digest -secret KEY_SECRET -former KEY_SECRET_FORMER`,
	flags: func(f *flag.FlagSet) action {
		name := f.String("name", "x-api-key", "the `name` before the digest")
		secret := f.String("secret", "", "the `variable` of the environment that has the secret of core.WithKeySecret; without it, there is no secret")
		former := f.String("former", "", "the `variable` of the environment that has the former secret, while a secret is rotated")
		asJSON := f.Bool("json", false, "write JSON")
		return func(_ context.Context, s streams) error {
			if *name == "" || strings.ContainsAny(*name, "=: \t") {
				return usage("-name is %q: write a name such as x-api-key", *name)
			}
			for _, variable := range []string{*secret, *former} {
				if variable != "" && os.Getenv(variable) == "" {
					return usage("the environment has no %s", variable)
				}
			}
			credential, err := readCredential(s)
			if err != nil {
				return err
			}
			key, err := digestKey(*name, credential, *secret)
			if err != nil {
				return errors.New("standard input has no credential")
			}
			answer := map[string]any{"key": key}
			if *former != "" {
				if answer["former"], err = digestKey(*name, credential, *former); err != nil {
					return err
				}
			}
			if *asJSON {
				return writeJSON(s.out, answer)
			}
			if _, err = fmt.Fprintln(s.out, key); err == nil && *former != "" {
				_, err = fmt.Fprintln(s.out, answer["former"])
			}
			return err
		}
	},
}

// digestKey returns the key of a credential under the secret in a variable; "" for no
// secret.
func digestKey(name, credential, variable string) (string, error) {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte(os.Getenv(variable))))
	defer limiter.Close()
	return adapter.CredentialKey(limiter, name, credential)
}

// maxCredential bounds the input in bytes.
const maxCredential = 1 << 20

// readCredential reads a credential, without the end of its line.
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
