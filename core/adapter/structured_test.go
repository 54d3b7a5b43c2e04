package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// item is a string with integer parameters, the only kind in the response fields.
type item struct {
	text       string
	parameters []parameter
}

type parameter struct {
	key   string
	value int64
}

// maxInteger is the largest integer of RFC 9651.
const maxInteger = 999_999_999_999_999

// parseList parses a list of such items by the algorithm of RFC 9651, 4.2. It is
// stricter: keys must not be repeated, and the only optional space is the one after a
// comma.
func parseList(field string) (items []item, err error) {
	for rest := field; ; {
		var i item
		if i.text, rest, err = parseString(rest); err != nil {
			return nil, err
		}
		for strings.HasPrefix(rest, ";") {
			var p parameter
			if p, rest, err = parseParameter(rest[1:]); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(i.parameters, func(o parameter) bool { return o.key == p.key }) {
				return nil, fmt.Errorf("parameter %s twice", p.key)
			}
			i.parameters = append(i.parameters, p)
		}
		items = append(items, i)
		if rest == "" {
			return items, nil
		}
		var ok bool
		if rest, ok = strings.CutPrefix(rest, ", "); !ok {
			return nil, fmt.Errorf("%q after an item", rest)
		}
	}
}

// parseString implements 4.2.5: only printable ASCII bytes are allowed.
func parseString(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("no string at %q", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", errors.New("a wrong escape")
			}
			b.WriteByte(s[i])
		case c < 0x20 || c > 0x7e:
			return "", "", fmt.Errorf("byte %#x in a string", c)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a string without end")
}

// parseParameter implements 4.2.3.2 for integers.
func parseParameter(s string) (p parameter, rest string, err error) {
	key, rest, _ := strings.Cut(s, "=")
	if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") != "" {
		return p, "", fmt.Errorf("no key at %q", s)
	}
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "-0123456789"))]
	value := number(digits)
	if value < 0 {
		return p, "", fmt.Errorf("parameter %s: %q is no integer from 0", key, digits)
	}
	return parameter{key, value}, rest[len(digits):], nil
}
